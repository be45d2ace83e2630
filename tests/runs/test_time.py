"""Deadlines, retry delays and backstops under time skipping: hours in milliseconds."""

from datetime import timedelta

from temporalio.client import WorkflowExecutionStatus
from temporalio.worker import Worker

from executus import Reason, Status
from executus.limits import Defaults
from executus.models.scripted import call, fail, say
from executus.timeouts import OUTAGE_SECONDS, STOP_SECONDS
from executus.tools import ToolRetry, tool

from .gate import Gate
from .kit import assert_closed_once, kit

ATTEMPTS = []


@tool(effect="idempotent", attempts=5)
async def flaky() -> str:
    """Work at the fourth attempt."""
    ATTEMPTS.append(1)
    if len(ATTEMPTS) < 4:
        raise ToolRetry("not yet")
    return "at last"


@tool(task_queue="nobody-is-there")
async def elsewhere() -> str:
    """Live on a queue without workers."""
    return "never"


async def test_a_retry_after_of_twenty_minutes_is_waited_out(env):
    async with kit(env) as k:
        script = [fail("rate_limited", retry_after=1_200, then=say("thanks"))]
        out = await k.run(script, max_runtime=7_200)
        assert out.result.output == "thanks"
        took = (out.result.ended_at - out.result.started_at).total_seconds()
        assert 1_200 <= took < 1_300
        await assert_closed_once(k, out)


async def test_a_retry_after_beyond_the_deadline_ends_the_run_at_once(env):
    async with kit(env) as k:
        out = await k.run([fail("rate_limited", retry_after=1_200)], max_runtime=600)
        assert out.result.reason is Reason.MODEL_UNAVAILABLE
        assert "asks to wait 1200 s" in out.result.error
        took = (out.result.ended_at - out.result.started_at).total_seconds()
        assert took < 60


async def test_an_overload_of_hours_stops_at_the_deadline_or_before(env):
    async with kit(env) as k:
        out = await k.run([fail("overloaded")], max_runtime=36_000)
        assert out.result.reason is Reason.MODEL_UNAVAILABLE
        assert out.activities.count("executus.model") == 1, "retries add no events"


async def test_a_tool_that_may_run_again_is_retried_by_temporal(env):
    ATTEMPTS.clear()
    async with kit(env, tools=[flaky]) as k:
        out = await k.run([call("flaky"), say("ok")], tools=("flaky",), max_runtime=600)
        assert out.result.status is Status.OK
        assert len(ATTEMPTS) == 4
        step = next(s for s in out.result.steps if s.kind == "tool.flaky")
        assert step.status == "complete"
        await assert_closed_once(k, out)


async def test_a_tool_whose_workers_are_away_certainly_did_not_run(env, monkeypatch):
    # The server does not skip time while a task waits for a worker: one second is waited for.
    monkeypatch.setattr("executus.workflows.tool_calls.QUEUE_WAIT", 1.0)
    async with kit(env, tools=[elsewhere]) as k:
        out = await k.run([call("elsewhere"), say("ok")], tools=("elsewhere",), max_runtime=3_600)
        step = next(s for s in out.result.steps if s.kind == "tool.elsewhere")
        assert step.status == "error"
        assert "nothing ran" in step.summary
        took = (out.result.ended_at - out.result.started_at).total_seconds()
        assert 1 <= took < 30, "the wait for another queue is bounded"


async def test_an_unlanded_cleanup_is_given_up_after_its_time_and_said(env):
    gate = Gate("executus.audit.close", error=OSError("the database is away"))
    async with kit(env, interceptors=[gate], defaults=Defaults(cleanup_seconds=300)) as k:
        out = await k.run([say("ok")])
        assert out.result.status is Status.OK
        assert "sweeper" in out.result.warnings[0]
        last = out.history.events[-1].event_time.ToDatetime(tzinfo=out.result.ended_at.tzinfo)
        assert 200 < (last - out.result.ended_at).total_seconds() <= 310


async def test_the_client_maps_max_runtime_to_the_execution_timeout(env):
    async with kit(env) as k:
        handle = await k.start([say("ok")], max_runtime=500)
        await handle.result()
        first = (await handle.fetch_history()).events[0].workflow_execution_started_event_attributes
        allowance = Defaults().cleanup_seconds + STOP_SECONDS + OUTAGE_SECONDS
        assert first.workflow_execution_timeout.ToTimedelta() == timedelta(seconds=500 + allowance)


async def test_an_execution_timeout_of_ones_own_is_kept(env):
    async with kit(env) as k:
        request = k.request([say("ok")])
        handle = await k.client.start_workflow(
            "executus.AgentRun",
            request,
            id=f"own-timeout-{env.max_cached_workflows}",
            task_queue=k.queue,
            execution_timeout=timedelta(hours=9),
        )
        await k.runs.result(handle.id)
        first = (await handle.fetch_history()).events[0].workflow_execution_started_event_attributes
        assert first.workflow_execution_timeout.ToTimedelta() == timedelta(hours=9)


async def test_without_any_worker_the_backstop_ends_the_run(env):
    async with kit(env) as k:
        handle = await k.client.start_workflow(
            "executus.AgentRun",
            k.request([say("never")]),
            id=f"no-worker-{env.max_cached_workflows}",
            task_queue="nobody-polls-this",
            execution_timeout=timedelta(seconds=1),
        )
        result = await k.runs.result(handle.id)
        assert (result.status, result.reason) == (Status.TIMEOUT, Reason.BACKSTOP)
        assert (await handle.describe()).status is WorkflowExecutionStatus.TIMED_OUT


async def test_time_in_the_queue_does_not_count(env):
    async with kit(env) as k:
        queue = f"{k.queue}-late"
        k.runs._task_queue = queue
        handle = await k.start([fail("overloaded", times=1, then=say("ok"))], max_runtime=30)
        async with Worker(k.client, task_queue=queue):
            result = await k.runs.result(handle.id)
        assert result.status is Status.OK
        about = await handle.describe()
        assert result.started_at >= about.start_time


async def test_a_terminated_run_is_told_with_what_it_had_done(env):
    gate = Gate("executus.model")
    async with kit(env, interceptors=[gate]) as k:
        handle = await k.start([say("never")])
        await gate.entered.wait()
        await handle.terminate("operator")
        result = await k.runs.result(handle.id)
        assert (result.status, result.reason) == (Status.ERROR, Reason.TERMINATED)
        assert result.steps_total == 1
        gate.open.set()
