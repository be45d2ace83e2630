"""The sweeper against a real Temporal server; a small workflow stands in for a run.

It ends in the shapes that runs end in: RunResult, `executus.<status>` failures, a memo head.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from executus.audit import AuditClose, AuditRun, step_of
from executus.budget import BudgetCommit
from executus.contracts import QUERY_STEPS, StepsPage
from executus.errors import StoreError
from executus.ports import Ports
from executus.result import RunResult
from executus.status import Reason, Status
from executus.stores.database import Database
from executus.stores.memory import MemoryAudit, MemoryBudget
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from executus.sweeper import SweepActivities, Sweeper
from executus.sweeper_schedule import install
from executus.sweeper_workflow import SCHEDULE_ID, SweepInput, SweepReport, SweepRun
from executus.usage import Usage
from tests.stores.clocks import call, check, meter, opening, row

QUEUE = "sweeper-tests"
NOW = SweepInput(grace=0)


def result(run_id: str, status: str = "ok", reason: str = "answer") -> RunResult:
    at = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    return RunResult(
        run_id=run_id,
        status=Status(status),
        reason=Reason(reason),
        output="the answer",
        steps_total=2,
        started_at=at,
        ended_at=at + timedelta(seconds=3),
    )


@workflow.defn(name="StandIn")
class StandIn:
    def __init__(self) -> None:
        self._go = False

    @workflow.signal
    def go(self) -> None:
        self._go = True

    @workflow.query(name=QUERY_STEPS)
    def steps(self, start: int = 0) -> StepsPage:
        rows = tuple(row(f"m{n}#1") for n in range(1, 4))
        return StepsPage(rows=rows[start:], start=start, total=3)

    @workflow.run
    async def run(self, how: str) -> RunResult | None:
        run_id = workflow.info().workflow_id
        match how:
            case "ok":
                return result(run_id)
            case "none":
                return None
            case "fail":
                failed = result(run_id, "killed", "critic")
                raise ApplicationError("critic", failed, type="executus.killed")
            case "bug":
                raise ApplicationError("a bug", type="ValueError")
            case "head":
                head = result(run_id, "cancelled", "cancel_request").model_dump(mode="json")
                workflow.upsert_memo({"executus": head})
            case "stuck":
                raise RuntimeError("a workflow task that fails for ever")
            case "again":
                workflow.continue_as_new("ok")
            case _:
                pass
        await workflow.wait_condition(lambda: self._go)
        return result(run_id)


@dataclass
class Bench:
    client: Client
    audit: SqlAudit
    budget: SqlBudget

    async def start(self, run_id: str, how: str, **options: Any) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(
            "StandIn", how, id=run_id, task_queue=QUEUE, **options
        )

    async def opened(self, run_id: str, how: str, **options: Any) -> WorkflowHandle[Any, Any]:
        """A run whose record is open, with one of its calls lost."""
        handle = await self.start(run_id, how, **options)
        first = handle.first_execution_run_id or ""
        past = datetime.now(UTC) - timedelta(seconds=1)
        await self.audit.start(opening(run_id, workflow_run_id=first, deadline_at=past))
        await self.budget.check(check(run_id, workflow_run_id=first, seconds=60, expires_at=past))
        await self.budget.authorize(call(run_id, tokens=10))
        await self.budget.meter(meter(run_id, tokens=7))
        await self.budget.authorize(call(run_id, step="m2", tokens=10))
        usage = Usage(input_tokens=7, model_calls=1)
        await self.audit.record(run_id, [row("m1#1", usage=usage, cost_micro_usd=5)])
        return handle

    async def sweep(self, asked: SweepInput = NOW) -> SweepReport:
        return await Sweeper(self.client, self.audit, self.budget).sweep(asked)

    async def record(self, run_id: str) -> AuditRun:
        found = await self.audit.run(run_id)
        assert found is not None
        return found


@pytest.fixture
async def bench(temporal: WorkflowEnvironment, database: Database) -> AsyncIterator[Bench]:
    config = temporal.client.config()
    config["data_converter"] = pydantic_data_converter
    client = Client(**config)
    audit = SqlAudit(database)
    budget = SqlBudget(database, unlimited_by_default=True)
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[StandIn, SweepRun],
        activities=[SweepActivities(Ports(audit=audit, budget=budget)).sweep],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield Bench(client, audit, budget)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"{request.node.name}-{datetime.now(UTC).timestamp()}"


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    while not await holds():
        await asyncio.sleep(0.02)


async def ended(handle: WorkflowHandle[Any, Any]) -> None:
    async def holds() -> bool:
        return (await handle.describe()).close_time is not None

    await until(holds)


ENDINGS = {
    "ok": ("ok", "answer"),
    "fail": ("killed", "critic"),
    "bug": ("error", "internal"),
    "none": ("error", "internal"),
    "again": ("ok", "answer"),
    "terminate": ("error", "terminated"),
    "cancel": ("cancelled", "cancel_request"),
    "head": ("cancelled", "cancel_request"),
    "timeout": ("timeout", "backstop"),
}


@pytest.mark.parametrize("how", ENDINGS)
async def test_every_way_to_die_is_closed_once_with_the_truth(
    bench: Bench, name: str, how: str
) -> None:
    options = {"execution_timeout": timedelta(seconds=1)} if how == "timeout" else {}
    handle = await bench.opened(name, how, **options)
    if how == "terminate":
        await handle.terminate(reason="an operator's reason")
    elif how in {"cancel", "head"}:
        await handle.query(QUERY_STEPS, 0)
        await handle.cancel()
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    report = await bench.sweep()
    [swept] = report.swept
    assert (swept.run_id, swept.closed, swept.settled) == (name, True, True)
    record = await bench.record(name)
    assert (record.status, record.reason) == ENDINGS[how]
    assert (record.closed_by, record.n_close) == ("sweeper", 1)
    assert await bench.budget.hold(name) is None
    receipt = await bench.budget.commit(BudgetCommit(run_id=name, seconds=99))
    assert (receipt.tokens, receipt.lost_attempts) == (17, 1)
    entries = await bench.audit.rows(name)
    steps = {step_of(e.key) for e in entries}
    assert steps >= {"m1", "m2", "m3"}, "what was missing is filled in"
    if how == "terminate":
        assert "an operator's reason" in str(entries[-1].body["error"])
        assert entries[-1].body["usage"]["input_tokens"] == 7  # type: ignore[index, call-overload]
        assert record.cost_micro_usd == 5
    again = await bench.sweep()
    assert (again.looked, again.swept) == (0, ())
    assert (await bench.audit.verify()).ok


async def test_a_live_run_is_never_touched(bench: Bench, name: str) -> None:
    handle = await bench.opened(name, "live")
    report = await bench.sweep(SweepInput(grace=0, everything=True, lost_after=0))
    assert (report.looked, report.live, report.swept) == (1, 1, ())
    assert (await bench.record(name)).status is None
    assert await bench.budget.hold(name) is not None
    await handle.terminate()


async def test_a_run_that_was_reset_is_live_and_then_closed_by_its_new_end(
    bench: Bench, name: str
) -> None:
    handle = await bench.opened(name, "live")
    await handle.signal("go")
    await ended(handle)
    history = await handle.fetch_history()
    event = next(
        e for e in history.events if e.HasField("workflow_task_completed_event_attributes")
    )
    await bench.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=bench.client.namespace,
            workflow_execution=WorkflowExecution(
                workflow_id=name, run_id=handle.first_execution_run_id
            ),
            reason="test",
            workflow_task_finish_event_id=event.event_id,
            request_id=name,
        )
    )
    current = bench.client.get_workflow_handle(name)
    await ended(current)  # the signal is carried over, so it ends again
    [swept] = (await bench.sweep()).swept
    assert (swept.status, swept.reason) == ("ok", "answer")


async def test_another_run_under_the_same_id_is_told_apart(bench: Bench, name: str) -> None:
    handle = await bench.opened(name, "fail")
    await ended(handle)
    second = await bench.start(name, "live", id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE)
    [swept] = (await bench.sweep()).swept
    assert (swept.status, swept.reason) == ("killed", "critic")
    await second.terminate()


async def test_a_chain_under_a_reused_id_is_followed_to_its_end(bench: Bench, name: str) -> None:
    handle = await bench.opened(name, "again")
    await handle.result()
    second = await bench.start(name, "live", id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE)
    [swept] = (await bench.sweep()).swept
    assert swept.status == "ok"
    await second.terminate()


async def test_a_run_that_just_ended_gets_time_to_close_by_itself(bench: Bench, name: str) -> None:
    handle = await bench.opened(name, "ok")
    await ended(handle)
    asked = SweepInput(grace=3_600, everything=True)
    report = await bench.sweep(asked)
    assert (report.waiting, report.swept) == (1, ())
    assert (await bench.sweep(SweepInput(grace=3_600))).looked == 0


async def test_two_sweepers_at_once_do_no_harm(bench: Bench, name: str) -> None:
    for number in range(5):
        await ended(await bench.opened(f"{name}-{number}", "fail"))
    reports = await asyncio.gather(*(bench.sweep() for _ in range(4)))
    assert all(report.failed == () for report in reports)
    for number in range(5):
        record = await bench.record(f"{name}-{number}")
        assert (record.status, record.n_close) == ("killed", 1)
    assert (await bench.audit.verify()).ok
    assert await bench.budget.holds_past(datetime.now(UTC)) == []
    uses = await bench.budget.show("caller:alice")
    [tokens] = [u for u in uses if (u.window, u.currency) == ("total", "tokens")]
    assert (tokens.settled, tokens.reserved) == (5 * 17, 0)


async def test_a_stuck_run_is_reported_and_left_alone(bench: Bench, name: str) -> None:
    handle = await bench.opened(name, "stuck")

    async def failing() -> bool:
        return (await handle.describe()).raw_description.pending_workflow_task.attempt >= 2

    await until(failing)
    report = await bench.sweep(SweepInput(grace=0, stuck_attempts=2))
    assert (report.stuck, report.live, report.swept) == ((name,), 1, ())
    await handle.terminate()


async def test_a_run_that_temporal_does_not_know_is_given_up_only_after_a_day(
    bench: Bench, name: str
) -> None:
    past = datetime.now(UTC) - timedelta(hours=1)
    await bench.audit.start(opening(name, workflow_run_id="", deadline_at=past))
    await bench.budget.check(check(name, seconds=60, expires_at=past))
    assert (await bench.sweep()).waiting == 1
    [swept] = (await bench.sweep(SweepInput(grace=0, lost_after=1_800))).swept
    assert (swept.status, swept.reason, swept.settled) == ("error", "terminated", True)
    receipt = await bench.budget.commit(BudgetCommit(run_id=name, seconds=0))
    assert receipt.seconds == 60, "nobody knows how long it took: all it held"


async def test_a_hold_without_a_record_gets_both_settled_and_recorded(
    bench: Bench, name: str
) -> None:
    handle = await bench.start(name, "fail")
    await ended(handle)
    past = datetime.now(UTC) - timedelta(seconds=1)
    first = handle.first_execution_run_id or ""
    await bench.budget.check(check(name, workflow_run_id=first, expires_at=past))
    [swept] = (await bench.sweep()).swept
    assert (swept.closed, swept.settled) == (True, True)
    record = await bench.record(name)
    assert (record.status, record.caller_id) == ("killed", "unknown")


async def test_a_record_whose_hold_is_settled_is_only_closed(bench: Bench, name: str) -> None:
    handle = await bench.opened(name, "fail")
    await ended(handle)
    await bench.budget.commit(BudgetCommit(run_id=name, seconds=3))
    [swept] = (await bench.sweep()).swept
    assert (swept.closed, swept.settled) == (True, False)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (StoreError("out of order"), "out of order"),
        (ValueError("a host's own codec"), "ValueError: a host's own codec"),
    ],
)
async def test_one_run_that_cannot_be_written_does_not_stop_the_others(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch, failure: Exception, told: str
) -> None:
    for letter in "ab":
        await ended(await bench.opened(f"{name}-{letter}", "ok"))
    close = bench.audit.close

    async def broken(closing: AuditClose) -> Any:
        if closing.opening.run_id.endswith("-a"):
            raise failure
        return await close(closing)

    monkeypatch.setattr(bench.audit, "close", broken)
    report = await bench.sweep()
    assert report.failed == (f"{name}-a: {told}",)
    assert [run.run_id for run in report.swept] == [f"{name}-b"]


async def test_runs_that_have_to_wait_keep_no_other_from_being_swept(
    bench: Bench, name: str
) -> None:
    """A Temporal that lost its data leaves many; they are the most overdue."""
    past = datetime(2020, 1, 1, tzinfo=UTC)
    for number in range(5):
        await bench.audit.start(opening(f"{name}-lost-{number}", deadline_at=past))
    await ended(await bench.opened(f"{name}-dead", "ok"))
    await ended(await bench.opened(f"{name}-more", "ok"))
    small = NOW.model_copy(update={"limit": 3, "lost_after": 1e9})
    report = await bench.sweep(small)
    assert (report.looked, report.waiting) == (7, 5)
    assert {run.run_id for run in report.swept} == {f"{name}-dead", f"{name}-more"}
    again = await bench.sweep(small)
    assert (again.looked, again.waiting, again.swept) == (5, 5, ())


async def test_one_sweep_closes_no_more_than_its_limit(bench: Bench, name: str) -> None:
    """Its report has to fit one payload."""
    for number in range(3):
        await ended(await bench.opened(f"{name}-{number}", "ok"))
    small = NOW.model_copy(update={"limit": 2})
    reports = [await bench.sweep(small) for _ in range(3)]
    assert [(len(report.swept), report.cut) for report in reports] == [
        (2, True),
        (1, False),
        (0, False),
    ]


@pytest.mark.parametrize(
    "status", [None, RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAVAILABLE]
)
async def test_runs_that_fail_keep_no_other_from_being_swept(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch, status: RPCStatusCode | None
) -> None:
    """They are there again at each sweep, and become the most overdue."""
    for number in range(5):
        await ended(await bench.opened(f"{name}-bad-{number}", "ok"))
    await ended(await bench.opened(f"{name}-good", "ok"))
    run = bench.audit.run
    failure = ValueError("no") if status is None else RPCError("no", status, b"")

    async def broken(run_id: str) -> Any:
        if "-bad-" in run_id:
            raise failure
        return await run(run_id)

    monkeypatch.setattr(bench.audit, "run", broken)
    report = await bench.sweep(NOW.model_copy(update={"limit": 3}))
    if status is RPCStatusCode.UNAVAILABLE:  # no fault of theirs: it is not asked for ever
        assert (report.swept, report.failed_total) == ((), 3)
        return
    assert [run.run_id for run in report.swept] == [f"{name}-good"]
    assert (len(report.failed), report.failed_total) == (3, 5)


async def test_a_damaged_record_is_reported_and_does_not_stop_the_others(
    bench: Bench, name: str
) -> None:
    for letter in "ab":
        await ended(await bench.opened(f"{name}-{letter}", "ok"))
    edit = text("UPDATE audit_runs SET started_at = 9223372036854775807 WHERE run_id = :name")
    values = {"name": f"{name}-a"}
    await bench.audit._database.write(lambda c: c.execute(edit, values))
    report = await bench.sweep()
    [failed] = report.failed
    assert f"record of run `{name}-a` is damaged" in failed
    assert [run.run_id for run in report.swept] == [f"{name}-b"]


def test_memory_stores_can_be_swept_and_a_bare_port_is_left_out() -> None:
    swept = SweepActivities(Ports(audit=MemoryAudit(), budget=MemoryBudget()))
    assert swept._audit is not None
    assert swept._budget is not None
    assert SweepActivities(Ports())._audit is None


async def test_the_schedule_sweeps_and_installing_it_again_changes_it(
    bench: Bench, name: str
) -> None:
    await ended(await bench.opened(name, "fail"))
    handle = bench.client.get_schedule_handle(SCHEDULE_ID)
    with contextlib.suppress(RPCError):  # another test's, on the same server
        await handle.delete()
    assert await install(bench.client, QUEUE, timedelta(hours=1), NOW)
    assert not await install(bench.client, QUEUE, timedelta(hours=2), NOW)
    await handle.trigger()

    async def swept() -> bool:
        return (await bench.record(name)).status is not None

    await until(swept)
    about = await handle.describe()
    assert [i.every for i in about.schedule.spec.intervals] == [timedelta(hours=2)]
    await handle.delete()
