"""What reaches a run while it changes executions: nothing of it is lost."""

import asyncio

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from executus import Reason, Status
from executus.carry import Carry
from executus.limits import Defaults
from executus.models.scripted import hang
from executus.workflows import body, intake
from executus.workflows.handover import pack

from .gate import Gate
from .kit import kit
from .test_long_runs import NAMES, TOOLS, adds, chain

DEFAULTS = Defaults(history_events=60, max_iterations=200, max_runtime=600, tokens=10_000_000)
DOWN = asyncio.Event()
MET = asyncio.Event()


class WorkerDown(Interceptor):
    """While `DOWN` is set, the first task of a later execution fails, as on a worker that dies."""

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        return _Down


class _Down(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> object:
        if workflow.info().continued_run_id and DOWN.is_set():
            MET.set()
            raise RuntimeError("the worker is down")
        return await super().execute_workflow(input)


@pytest.fixture
async def between(env):
    """A kit whose run stands between two executions."""
    DOWN.set()
    MET.clear()
    async with kit(env, tools=TOOLS, defaults=DEFAULTS, interceptors=[WorkerDown()]) as k:
        handle = await k.start(adds(12), tools=NAMES)
        await MET.wait()
        yield k, handle
    DOWN.clear()


@pytest.mark.parametrize("how", ["signal", "native"])
async def test_a_stop_before_the_state_is_taken_up_loses_none_of_it(between, how):
    k, handle = between
    if how == "signal":
        await k.runs.cancel(handle.id, "enough", by="ann")
    else:
        await k.client.get_workflow_handle(handle.id).cancel()
    MET.clear()
    await MET.wait()  # what was dispatched before the stop fails too, and the next one has it
    DOWN.clear()
    result = await k.runs.result(handle.id)
    assert result.status is Status.CANCELLED
    assert result.iterations == 4
    assert (result.steps_total, len(result.steps)) == (8, 8)
    assert result.usage.model_calls == 4
    run, hold = await k.audit.run(handle.id), k.budget._holds[handle.id]
    assert (run.n_close, run.status) == (1, "cancelled")
    assert (hold.n_settle, hold.settled) == (1, True)
    assert hold.share.tokens == result.usage.total_tokens
    assert (await k.audit.verify(handle.id)).ok
    await chain(k, handle.id)


async def test_limits_are_raised_before_the_state_is_taken_up(between):
    k, handle = between
    raising = asyncio.create_task(k.runs.raise_limits(handle.id, tokens=20_000_000, by="ann"))
    await asyncio.sleep(0.2)  # it may also come after; then it is accepted as always
    DOWN.clear()
    assert (await raising).tokens_limit == 20_000_000
    assert (await k.runs.result(handle.id)).status is Status.OK
    await chain(k, handle.id)


async def test_what_cannot_be_raised_is_refused_there_too(between):
    k, handle = between
    raising = asyncio.create_task(k.runs.raise_limits(handle.id, tokens=5, by="ann"))
    await asyncio.sleep(0.2)
    DOWN.clear()
    with pytest.raises(Exception, match="tokens: 5 is not above the present limit"):
        await raising
    assert (await k.runs.result(handle.id)).status is Status.OK
    await chain(k, handle.id)


async def test_the_audit_hears_of_what_came_while_it_was_told(env):
    gate = Gate("executus.audit.flush")
    async with kit(env, tools=TOOLS, defaults=DEFAULTS, interceptors=[gate]) as k:
        handle = await k.start(adds(8), tools=NAMES)
        await gate.entered.wait()
        await k.runs.steer(handle.id, "look left", by="ann")
        await k.runs.raise_limits(handle.id, tokens=20_000_000, by="ann")
        gate.open.set()
        result = await k.runs.result(handle.id)
        assert result.status is Status.OK
        events = [e for e in await k.audit.rows(handle.id) if e.kind == "event"]
        assert sorted(event.name for event in events) == ["limits_raised", "steer"]
        assert len({event.key for event in events}) == 2
        assert (await k.audit.verify(handle.id)).ok
        await chain(k, handle.id)


async def failed_tasks(handle) -> list[str]:
    """What the workflow tasks of the newest execution failed with."""
    history = await handle.fetch_history()
    failed = [e.workflow_task_failed_event_attributes.failure for e in history.events]
    return [failure.message for failure in failed if failure.message]


class LaterCarry(Carry):
    """What a later version hands over."""

    something_new: int = 7


async def test_what_another_version_hands_over_waits_for_its_worker(env, monkeypatch):
    def packed(*args):
        return LaterCarry.model_validate(pack(*args).model_dump())

    monkeypatch.setattr(body, "pack", packed)
    async with kit(env, tools=TOOLS, defaults=DEFAULTS) as k:
        handle = await k.start(adds(12), tools=NAMES)
        newest = k.client.get_workflow_handle(handle.id)
        while not (failed := await failed_tasks(newest)):
            await asyncio.sleep(0.05)
        assert "handed over by another version of executus" in failed[0]
        assert "something_new" in failed[0]
        monkeypatch.setattr(intake, "Carry", LaterCarry)  # its worker comes
        result = await k.runs.result(handle.id)
        assert (result.status, result.output) == (Status.OK, "12 calls")
        assert k.budget._holds[handle.id].settled


async def test_a_terminated_chain_tells_when_the_run_began(env):
    base = await Client.connect(env.client.service_client.config.target_host)
    async with kit(env, tools=TOOLS, defaults=DEFAULTS, client=base) as k:

        def talk(request):
            done = sum(len(m.message.tool_calls) for m in request.messages)
            return adds(99)(request) if done < 6 else hang()

        handle = await k.start(talk, tools=NAMES)
        while (state := await k.runs.state(handle.id)).iteration < 7:
            await asyncio.sleep(0.05)
        await k.client.get_workflow_handle(handle.id).terminate("enough")
        result = await k.runs.result(handle.id)
        assert (result.status, result.reason) == (Status.ERROR, Reason.TERMINATED)
        assert result.started_at == state.started_at
        assert len(await chain(k, handle.id)) > 1
