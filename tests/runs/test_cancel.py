"""Stopping a run: by signal and natively, in every phase. Cleanup is never entered by a cancel."""

import asyncio
from functools import partial

import pytest
from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus

from executus import Reason, Status
from executus.limits import Defaults
from executus.models.scripted import call, calls, hang, say
from executus.tools import ToolContext, tool
from executus.workflows import engine, perform, tool_calls

from .gate import Gate
from .kit import Outcome, assert_closed_once, kit

MODEL = "executus.model"


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(timeout=3_600)
async def wait(ctx: ToolContext) -> str:
    """Wait for ever."""
    await asyncio.sleep(3_600)
    return "never"


@tool(timeout=3_600, effect="pure")
async def look() -> str:
    """Wait for ever, harmlessly."""
    await asyncio.sleep(3_600)
    return "never"


@tool
async def nap() -> str:
    """Take longer than the shortest heartbeat time."""
    await asyncio.sleep(5)
    return "rested"


@tool(effect="pure", local=True)
async def glance() -> str:
    """Look quickly."""
    return "seen"


TOOLS = [add, wait, look]
SCRIPT = [call("add", a=1, b=1), say("done")]
BEFORE = ["executus.resolve", "executus.budget.check", "executus.audit.start"]
CLOSING = ["executus.budget.commit", "executus.audit.close"]


async def stop(k, run_id: str, how: str) -> None:
    if how == "signal":
        await k.runs.cancel(run_id, "enough")
    else:
        await k.client.get_workflow_handle(run_id).cancel(reason="enough")


def expect_cancelled(out: Outcome, how: str) -> None:
    reason = Reason.CANCEL_SIGNAL if how == "signal" else Reason.CANCEL_REQUEST
    assert (out.result.status, out.result.reason) == (Status.CANCELLED, reason)
    assert out.result.error == "cancelled: enough"
    assert out.close == ("COMPLETED" if how == "signal" else "CANCELED")


@pytest.mark.parametrize("how", ["signal", "native"])
@pytest.mark.parametrize("kind", [*BEFORE, MODEL, "tool.add"])
async def test_a_stop_in_any_phase_ends_the_run_cancelled(env, kind, how):
    gate = Gate(kind)
    async with kit(env, tools=TOOLS, interceptors=[gate]) as k:
        handle = await k.start(SCRIPT, tools=("add",))
        await gate.entered.wait()
        await stop(k, handle.id, how)
        out = await k.outcome(handle.id)
        gate.open.set()
        expect_cancelled(out, how)
        after = [MODEL, "tool.add"][
            : ["x", MODEL, "tool.add"].index(kind) if kind not in BEFORE else 0
        ]
        assert MODEL not in out.activities[out.activities.index(kind) + 1 :], (
            "new work after a stop"
        )
        assert set(after) <= set(out.activities)
        reserved = kind != "executus.resolve"
        landed = k.budget._holds.get(handle.id) is not None
        await assert_closed_once(k, out, reserved=reserved and landed)


@pytest.mark.parametrize("how", ["signal", "native"])
@pytest.mark.parametrize("kind", CLOSING)
async def test_a_stop_during_cleanup_changes_nothing(env, kind, how):
    gate = Gate(kind)
    async with kit(env, tools=TOOLS, interceptors=[gate]) as k:
        handle = await k.start(SCRIPT, tools=("add",))
        await gate.entered.wait()
        await stop(k, handle.id, how)
        await asyncio.sleep(0)
        gate.open.set()
        out = await k.outcome(handle.id)
        assert (out.result.status, out.result.output) == (Status.OK, "done")
        assert out.activities[-2:] == CLOSING
        await assert_closed_once(k, out)


@pytest.mark.parametrize("kind", CLOSING)
async def test_a_native_cancel_during_the_cleanup_of_a_stopped_run_changes_nothing(env, kind):
    gate = Gate(kind)
    async with kit(env, tools=TOOLS, interceptors=[gate]) as k:
        handle = await k.start([hang()])
        await _until(k, handle.id, lambda s: s.steps_total == 1)
        await stop(k, handle.id, "signal")
        await gate.entered.wait()
        await stop(k, handle.id, "native")
        gate.open.set()
        out = await k.outcome(handle.id)
        expect_cancelled(out, "signal")
        await assert_closed_once(k, out)


@pytest.mark.parametrize("kind", [MODEL, "tool.add", "tool.glance"])
async def test_a_stop_in_the_task_that_begins_a_step_leaves_no_step_running(env, kind, monkeypatch):
    """As when the deadline's timer and the answer that the run waited for come together."""

    def begin(start, name, *args):
        handle = start(name, *args)
        if name == kind:  # the loop goes on in this task until it waits for the handle
            workflow.instance()._driver.controls.cancel(("enough",))
        return handle

    for module, local in ((engine, False), (tool_calls, False), (tool_calls, True)):
        name = "perform_local" if local else "perform"
        monkeypatch.setattr(module, name, partial(begin, getattr(perform, name)))
    tools = [*TOOLS, glance]
    async with kit(env, tools=tools) as k:
        script = [call("glance"), say("done")] if kind == "tool.glance" else SCRIPT
        out = await k.run(script, tools=("add", "glance"))
        expect_cancelled(out, "signal")
        begun = out.result.steps[-1]
        assert (begun.kind, begun.status) == (kind.removeprefix("executus."), "error")
        assert kind not in out.activities, "it never left"
        await assert_closed_once(k, out)


async def test_a_signal_before_the_first_task_stops_the_run(env):
    async with kit(env) as k:
        request = k.request([say("never")])
        handle = await k.client.start_workflow(
            "executus.AgentRun",
            request,
            id="early-signal",
            task_queue=k.queue,
            start_signal="cancel",
            start_signal_args=["enough"],
        )
        out = await k.outcome(handle.id)
        expect_cancelled(out, "signal")
        assert MODEL not in out.activities


async def test_a_native_cancel_before_a_worker_is_there_ends_cancelled(env):
    async with kit(env) as k:
        request = k.request([say("never")])
        queue, k.runs._task_queue = k.queue, f"{k.queue}-later"
        handle = await k.runs.start(request)
        await handle.cancel(reason="enough")
        from temporalio.worker import Worker

        async with Worker(k.client, task_queue=f"{queue}-later"):
            out = await k.outcome(handle.id)
        assert out.result.reason is Reason.CANCEL_REQUEST
        assert MODEL not in out.activities


async def test_a_cancel_reaches_a_hanging_model_call_and_a_hanging_tool(env):
    async with kit(env, tools=TOOLS) as k:
        for script, kind in (
            ([hang()], "model"),
            ([calls(("wait", {}), ("look", {}))], "tool.wait"),
        ):
            handle = await k.start(script, tools=("wait", "look"), max_runtime=3_600)
            await _until(k, handle.id, lambda s, kind=kind: kind in {x.kind for x in s.steps[-2:]})
            await stop(k, handle.id, "signal")
            out = await k.outcome(handle.id)
            expect_cancelled(out, "signal")
            await assert_closed_once(k, out)
        statuses = {s.kind: s.status for s in out.result.steps}
        assert statuses["tool.wait"] == "unknown", "an effect may have happened"
        assert statuses["tool.look"] == "error"


async def test_a_transcript_stays_well_formed_when_tools_are_cut_off(env):
    from tests.workflows.fakes import assert_well_formed

    async with kit(env, tools=TOOLS) as k:
        script = [calls(("wait", {}), ("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4}))]
        limits = {"tool_calls": 2}
        handle = await k.start(script, tools=("wait", "add"), max_runtime=3_600, limits=limits)
        await _until(k, handle.id, lambda s: "complete" in {x.status for x in s.steps[1:]})
        await stop(k, handle.id, "signal")
        await k.outcome(handle.id)
        page = await k.client.get_workflow_handle(handle.id).query("transcript", 0)
        from executus.transcript import TranscriptPage

        messages = TranscriptPage.model_validate(page).messages
        assert_well_formed(messages)
        parts = [m.parts[0] for m in messages if m.role == "tool"]
        outcomes = [(part.name, part.outcome) for part in parts]
        assert outcomes == [("wait", "unknown"), ("add", "ok"), ("add", "error")]


async def test_a_native_cancel_keeps_the_result_without_any_worker(env):
    async with kit(env) as k:
        handle = await k.start([hang()])
        await _until(k, handle.id, lambda s: s.steps_total == 1)
        await stop(k, handle.id, "native")
        await k.outcome(handle.id)
        about = await handle.describe()
        assert about.status is WorkflowExecutionStatus.CANCELED
        memo = await about.memo()
        assert memo["executus"]["reason"] == "cancel_request"


async def test_twenty_cancels_at_once_close_once(env):
    async with kit(env, tools=TOOLS) as k:
        handle = await k.start([hang()])
        await _until(k, handle.id, lambda s: s.steps_total == 1)
        await asyncio.gather(
            *(stop(k, handle.id, how) for how in ["signal", "native"] * 10), return_exceptions=True
        )
        out = await k.outcome(handle.id)
        assert out.result.status is Status.CANCELLED
        assert out.activities[-2:] == CLOSING
        await assert_closed_once(k, out)


async def test_cancel_storm_no_model_step_begins_after_a_stop(env):
    """A cancel that meets a completing step must not be swallowed (reliability.md F2)."""
    async with kit(env, tools=TOOLS, defaults=Defaults(max_iterations=100)) as k:
        script = [call("add", a=i, b=i) for i in range(60)]
        count = 20 if env.max_cached_workflows else 6  # each query replays the whole run
        handles = [await k.start(script, tools=("add",)) for _ in range(count)]

        async def one(n, handle):
            await _until(k, handle.id, lambda s: s.steps_total >= 3 + n % 7)
            await stop(k, handle.id, "signal" if n % 2 else "native")

        await asyncio.gather(*(one(n, h) for n, h in enumerate(handles)))
        for handle in handles:
            result = await k.runs.result(handle.id)
            assert result.status is Status.CANCELLED
            assert result.steps_total < 60
            assert (await k.audit.run(handle.id)).n_close == 1


async def test_the_shortest_heartbeat_time_takes_no_healthy_tool_for_lost(env):
    async with kit(env, tools=[nap], defaults=Defaults(heartbeat_seconds=1)) as k:
        out = await k.run([call("nap"), say("ok")], tools=("nap",))
        assert [step.status for step in out.result.steps] == ["complete"] * 3


async def _until(k, run_id: str, reached) -> None:
    """Wait for a state of the run."""
    while not reached(await k.runs.state(run_id)):
        await asyncio.sleep(0.03)
