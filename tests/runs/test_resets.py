"""`temporal workflow reset` on the real server: what was done twice stands in every book twice."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client

from executus import Reason, Status
from executus.audit import AuditEntry, step_of
from executus.cli.app import invoke
from executus.delivery import Deliveries
from executus.delivery_target import DeliveryTarget
from executus.limits import Defaults
from executus.models.scripted import call, calls, fail, hang, say
from executus.ports import Ports
from executus.result import RunResult
from executus.stores.database import Database
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from executus.stores.sql_letters import SqlLetters
from executus.sweeper import SweepActivities
from executus.sweeper_workflow import SweepInput
from executus.tools import ToolContext, tool
from executus.workflows.run import Run
from tests.conftest import temporal_program

from .kit import Kit, kit
from .test_delivery import BOX, Box

NOW = SweepInput(everything=True, grace=0)
BEGIN = ["executus.resolve", "executus.budget.check", "executus.audit.start"]
TURNS = ["executus.model", "tool.book", "executus.model"]
END = ["executus.budget.commit", "executus.deliver", "executus.audit.close"]


@pytest.fixture
def booked() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def book(booked: list[tuple[str, str]]) -> Any:
    @tool(effect="idempotent")
    async def book(what: str, ctx: ToolContext) -> str:
        """Book something."""
        booked.append((what, ctx.idempotency_key))
        return f"booked {what}"

    return book


@tool(effect="pure", local=True)
async def quick(n: int) -> int:
    """Answer inside of the workflow task."""
    return n


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def stores(database: Database, box: Box) -> Ports:
    return Ports(
        audit=SqlAudit(database),
        budget=SqlBudget(database, unlimited_by_default=True),
        delivery=Deliveries({"box": box}),
        letters=SqlLetters(database),
    )


@pytest.fixture
async def k(env: Any, book: Any, stores: Ports) -> Any:
    # Real time: with time skipping a run's own timer may fire while it is reset.
    client = await Client.connect(env.client.service_client.config.target_host)
    bounds = Defaults(history_events=50, max_runtime=60)
    tools = [book, quick]
    async with kit(env, tools=tools, ports=stores, client=client, defaults=bounds) as made:
        yield made


async def begin(k: Kit, script: Any, target: DeliveryTarget | None = BOX, **fields: Any) -> Any:
    """A run that is started, and the place of its script."""
    request = k.request(script, tools=("book", "quick"), delivery=target, **fields)
    handle = await k.runs.start(request)
    return handle, str(request.agent.model_tier).removeprefix("scripted/")  # type: ignore[union-attr]


async def reset(k: Kit, run_id: str, activity: str, nth: int = 0, *, of: str = "") -> str:
    """Reset to the task that began an activity, in the newest execution or another one."""
    handle = k.client.get_workflow_handle(run_id, run_id=of or None)
    history = await handle.fetch_history()
    scheduled = [
        event
        for event in history.events
        if event.activity_task_scheduled_event_attributes.activity_type.name == activity
    ][nth]
    place = scheduled.activity_task_scheduled_event_attributes.workflow_task_completed_event_id
    answer = await k.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=k.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=run_id, run_id=of),
            reason="the booking went wrong",
            workflow_task_finish_event_id=place,
            request_id=uuid.uuid4().hex,
        )
    )
    return answer.run_id


def holding() -> tuple[Any, asyncio.Event]:
    """A reply that never comes, and whether it was asked for."""
    asked = asyncio.Event()

    async def never(request: Any) -> str:
        del request
        asked.set()
        await asyncio.Event().wait()
        return ""

    return never, asked


async def until(check: Any) -> None:
    while not await check():
        await asyncio.sleep(0.02)


async def over(result: RunResult, max_runtime: float) -> None:
    """Return when the run's `max_runtime` is past."""
    until = result.started_at + timedelta(seconds=max_runtime + 0.1)
    await asyncio.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()))


async def entries(stores: Ports, run_id: str) -> list[AuditEntry]:
    assert isinstance(stores.audit, SqlAudit)
    assert (await stores.audit.verify(run_id)).ok
    return await stores.audit.rows(run_id)


def steps(found: list[AuditEntry], execution: str) -> list[str]:
    """Steps whose rows an execution made, with a mark where they were superseded."""
    rows = [e for e in found if step_of(e.key) and e.execution == execution]
    return [f"{step_of(e.key)}{'-' if e.superseded_at else ''}" for e in rows]


async def spent(stores: Ports) -> dict[str, tuple[float, float]]:
    assert isinstance(stores.budget, SqlBudget)
    uses = await stores.budget.show("caller:ann")
    return {u.currency: (u.settled, u.reserved) for u in uses if u.window == "total"}


async def test_a_run_that_had_ended_is_reset_and_both_lives_are_on_record(
    k: Kit, stores: Ports, box: Box, booked: list[tuple[str, str]]
) -> None:
    handle, script = await begin(k, [call("book", what="A"), say("first")])
    first = (await k.outcome(handle.id)).result
    before = await spent(stores)
    k.scripts[script] = [call("book", what="B"), say("second")]
    execution = await reset(k, handle.id, "executus.model")
    out = await k.outcome(handle.id)
    assert (out.result.status, out.result.output) == (Status.OK, "second")
    assert out.activities == [*BEGIN, *TURNS, *END]
    found = await entries(stores, handle.id)
    assert steps(found, "") == ["m1-", "m1.t1-", "m2-"]
    assert steps(found, execution) == ["m1", "m1.t1", "m2"]
    texts = {e.key: str(e.body) for e in found}
    assert "booked A" in texts["m1.t1#1"]
    assert "booked B" in texts[f"m1.t1#1@{execution}"]
    [told] = [e for e in found if e.entry == "reset"]
    assert told.body["reason"] == "the booking went wrong"
    closes = [e for e in found if e.entry == "close"]
    assert [(e.execution, e.superseded_at is not None, e.hash) for e in closes] == [
        ("", True, first.audit_head),
        (execution, False, out.result.audit_head),
    ]
    assert not any(e.late for e in found)
    after = await spent(stores)
    assert after["tokens"] == (first.usage.total_tokens + out.result.usage.total_tokens, 0)
    assert after["seconds"][0] > before["seconds"][0]
    assert await stores.budget.hold(handle.id) is None  # type: ignore[union-attr]
    assert [item.event.data.output for item in box.items] == ["first", "second"]
    assert len({item.id for item in box.items}) == 2
    assert [what for what, _ in booked] == ["A", "B"]
    assert len({key for _, key in booked}) == 1, "an outside system knows it for the same call"


async def test_the_same_outcome_is_not_delivered_again(k: Kit, stores: Ports, box: Box) -> None:
    handle, _ = await begin(k, [call("book", what="A"), say("same")])
    first = (await k.outcome(handle.id)).result
    execution = await reset(k, handle.id, "executus.model", 1)
    out = await k.outcome(handle.id)
    assert out.result.output == "same"
    assert out.activities == [*BEGIN, *TURNS, *END]
    assert box.tried == 1
    assert out.result.delivery == first.delivery
    found = await entries(stores, handle.id)
    assert steps(found, "") == ["m1", "m1.t1", "m2-"]
    assert steps(found, execution) == ["m2"]


async def test_a_run_is_reset_to_its_very_beginning(k: Kit, stores: Ports, box: Box) -> None:
    handle, script = await begin(k, [call("book", what="A"), say("same")])
    first = (await k.outcome(handle.id)).result
    k.scripts[script] = [call("book", what="B"), say("same")]
    execution = await reset(k, handle.id, "executus.resolve")
    out = await k.outcome(handle.id)
    assert (out.result.output, out.activities) == ("same", [*BEGIN, *TURNS, *END])
    found = await entries(stores, handle.id)
    assert steps(found, "") == ["m1-", "m1.t1-", "m2-"]
    assert steps(found, execution) == ["m1", "m1.t1", "m2"]
    total = first.usage.total_tokens + out.result.usage.total_tokens
    assert (await spent(stores))["tokens"] == (total, 0)
    assert (await spent(stores))["seconds"][1] == 0
    assert box.tried == 1
    assert out.result.delivery == first.delivery


async def test_a_run_is_reset_into_its_cleanup(k: Kit, stores: Ports, box: Box) -> None:
    """Behind the delivery: only the record is closed again, and it is told who delivered."""
    handle, _ = await begin(k, [say("same")])
    first = (await k.outcome(handle.id)).result
    execution = await reset(k, handle.id, "executus.audit.close")
    out = await k.outcome(handle.id)
    assert out.activities == [*BEGIN, "executus.model", *END]
    assert (out.result.output, box.tried) == ("same", 1)
    found = await entries(stores, handle.id)
    assert steps(found, "") == ["m1"]
    [close] = [e for e in found if e.entry == "close" and e.execution == execution]
    assert out.result.audit_head == close.hash != first.audit_head
    assert await stores.budget.hold(handle.id) is None  # type: ignore[union-attr]


async def test_a_letter_that_an_earlier_life_left_is_crossed_out(
    k: Kit, stores: Ports, box: Box
) -> None:
    from executus.errors import DeliveryError

    box.failures = [DeliveryError("gone", permanent=True)]
    handle, _ = await begin(k, [say("same")])
    assert (await k.outcome(handle.id)).result.delivery is None
    await reset(k, handle.id, "executus.model")
    assert (await k.outcome(handle.id)).result.delivery is not None
    assert len(box.items) == 1
    assert await stores.letters.letters(handle.id) == []  # type: ignore[union-attr]


async def test_a_run_under_way_is_reset(
    k: Kit, stores: Ports, box: Box, booked: list[tuple[str, str]]
) -> None:
    never, asked = holding()
    handle, script = await begin(k, [call("book", what="A"), never])
    await asked.wait()
    k.scripts[script] = [call("book", what="B"), say("second")]
    execution = await reset(k, handle.id, "executus.model")
    out = await k.outcome(handle.id)
    assert (out.result.output, out.activities) == ("second", [*BEGIN, *TURNS, *END])
    found = await entries(stores, handle.id)
    assert steps(found, "") == ["m1-", "m1.t1-"]
    assert steps(found, execution) == ["m1", "m1.t1", "m2"]
    assert [e.execution for e in found if e.entry == "close"] == [execution]
    assert await stores.budget.hold(handle.id) is None  # type: ignore[union-attr]
    settled, reserved = (await spent(stores))["tokens"]
    assert settled > out.result.usage.total_tokens, "the first m1, and m2 at its worst case"
    assert reserved == 0
    assert len({key for _, key in booked}) == 1
    assert len(box.items) == 1


async def test_a_reset_run_that_ends_before_it_reserves_settles_what_was_held(
    k: Kit, stores: Ports, box: Box
) -> None:
    never, asked = holding()
    handle, _ = await begin(k, [never])
    await asked.wait()
    box.problem = lambda target: f"{target.kind} is closed"  # type: ignore[method-assign]
    await reset(k, handle.id, "executus.resolve")
    out = await k.outcome(handle.id)
    assert out.result.reason is Reason.DELIVERY_REFUSED
    assert await stores.budget.hold(handle.id) is None  # type: ignore[union-attr]
    settled, reserved = (await spent(stores))["tokens"]
    assert (settled > 0, reserved) == (True, 0), "the first model call at its worst case"


async def test_a_failed_run_is_reset_and_ends_well(k: Kit, stores: Ports, box: Box) -> None:
    handle, script = await begin(k, [call("book", what="A"), fail("request_rejected", "no")])
    out = await k.outcome(handle.id)
    assert (out.close, out.result.status) == ("FAILED", Status.ERROR)
    k.scripts[script] = [call("book", what="A"), say("well")]
    execution = await reset(k, handle.id, "executus.model", 1)
    out = await k.outcome(handle.id)
    assert (out.close, out.result.output) == ("COMPLETED", "well")
    run = await stores.audit.run(handle.id)  # type: ignore[union-attr]
    assert (run.status, run.closed_head) == (Status.OK, out.result.audit_head)
    found = await entries(stores, handle.id)
    assert steps(found, "") == ["m1", "m1.t1", "m2-"]
    assert steps(found, execution) == ["m2"]
    assert [item.event.data.status for item in box.items] == [Status.ERROR, Status.OK]


async def test_a_run_that_was_terminated_and_swept_is_reset(
    k: Kit, stores: Ports, box: Box
) -> None:
    never, asked = holding()
    handle, script = await begin(k, [call("book", what="A"), never])
    await asked.wait()
    await handle.terminate("enough")
    sweeper = SweepActivities(stores).sweeper(k.client)
    [swept] = (await sweeper.sweep(NOW)).swept
    assert (swept.closed, swept.settled, swept.delivered) == (True, True, True)
    k.scripts[script] = [call("book", what="A"), say("well")]
    execution = await reset(k, handle.id, "executus.model", 1)
    out = await k.outcome(handle.id)
    assert (out.result.output, out.activities) == ("well", [*BEGIN, *TURNS, *END])
    found = await entries(stores, handle.id)
    assert steps(found, "") == ["m1", "m1.t1", "m2-"]
    assert steps(found, execution) == ["m2"]
    assert [item.event.data.reason for item in box.items] == ["terminated", "answer"]
    assert await stores.budget.hold(handle.id) is None  # type: ignore[union-attr]
    assert (await sweeper.sweep(NOW)).looked == 0


async def test_a_run_that_dies_after_its_reset_is_closed_by_the_sweeper(
    k: Kit, stores: Ports, box: Box
) -> None:
    handle, script = await begin(k, [call("book", what="A"), say("first")])
    await k.outcome(handle.id)
    k.scripts[script] = [call("book", what="B"), hang()]
    execution = await reset(k, handle.id, "executus.model")

    async def open_again() -> bool:
        found = await entries(stores, handle.id)
        hold = await stores.budget.hold(handle.id)  # type: ignore[union-attr]
        return hold is not None and "m1.t1" in steps(found, execution)

    await until(open_again)
    run = await stores.audit.run(handle.id)  # type: ignore[union-attr]
    assert run.status is None, "it goes on"
    sweeper = SweepActivities(stores).sweeper(k.client)
    assert (await sweeper.sweep(NOW)).live == 1
    await k.client.get_workflow_handle(handle.id).terminate("enough")
    [swept] = (await sweeper.sweep(NOW)).swept
    assert (swept.reason, swept.closed, swept.settled) == ("terminated", True, True)
    found = await entries(stores, handle.id)
    closes = [e for e in found if e.entry == "close"]
    assert [(e.execution, e.name, bool(e.superseded_at)) for e in closes] == [
        ("", "answer", True),
        (execution, "terminated", False),
    ]
    usage = [e.body["usage"] for e in found if e.entry == "row" and e.kind == "model"]
    assert len(usage) >= 3
    assert await stores.budget.hold(handle.id) is None  # type: ignore[union-attr]
    assert [item.event.data.reason for item in box.items] == ["answer", "terminated"]
    assert (await sweeper.sweep(NOW)).looked == 0


async def test_a_run_is_reset_again_from_what_its_first_reset_brought(
    k: Kit, stores: Ports
) -> None:
    handle, script = await begin(k, [call("book", what="A"), say("first")], None)
    await k.outcome(handle.id)
    k.scripts[script] = [call("book", what="B"), say("second")]
    two = await reset(k, handle.id, "executus.model")
    await k.outcome(handle.id)
    k.scripts[script] = [call("book", what="B"), say("third")]
    three = await reset(k, handle.id, "executus.model", 1)
    out = await k.outcome(handle.id)
    assert out.result.output == "third"
    found = await entries(stores, handle.id)
    assert steps(found, "") == ["m1-", "m1.t1-", "m2-"]
    assert steps(found, two) == ["m1", "m1.t1", "m2-"]
    assert steps(found, three) == ["m2"]
    assert [(e.execution, bool(e.superseded_at)) for e in found if e.entry == "close"] == [
        ("", True),
        (two, True),
        (three, False),
    ]
    kept = ["m1", "m1.t1", "m2"]
    assert [step.id for step in out.result.steps] == kept
    assert (await spent(stores))["seconds"][1] == 0


async def test_what_is_no_activity_and_what_an_outage_lost_is_told_of_the_right_execution(
    k: Kit, stores: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run_status` is answered inside the workflow; the second m2's row does not land."""
    both = calls(("book", {"what": "A"}), ("run_status", {}), ("quick", {"n": 1}))
    handle, script = await begin(k, [both, both, say("first")], None)
    await k.outcome(handle.id)
    real = SqlAudit.record

    async def record(self: SqlAudit, run_id: str, rows: Any) -> None:
        if any(step_of(row.key) == "m2" and row.usage for row in rows) and not any(
            row.summary for row in rows
        ):
            raise OSError("the database is away")
        await real(self, run_id, rows)

    monkeypatch.setattr(SqlAudit, "record", record)
    k.scripts[script] = [both, calls(("run_status", {}), ("quick", {"n": 2})), say("second")]
    execution = await reset(k, handle.id, "executus.model", 1)
    out = await k.outcome(handle.id)
    assert out.result.output == "second"
    found = await entries(stores, handle.id)
    kept, aside = ["m1", "m1.t1", "m1.t2", "m1.t3"], ["m2-", "m2.t1-", "m2.t2-", "m2.t3-", "m3-"]
    assert sorted(steps(found, "")) == [*kept, *aside]
    assert sorted(steps(found, execution)) == ["m2", "m2.t1", "m2.t2", "m3"]


async def test_executions_of_a_long_run_supersede_each_other_only_after_a_reset(
    k: Kit, stores: Ports
) -> None:
    def bookings(count: int) -> Any:
        def reply(request: Any) -> Any:
            done = sum(len(m.message.tool_calls) for m in request.messages)
            return call("book", what=str(done)) if done < count else say(f"{done} bookings")

        return reply

    handle, script = await begin(k, bookings(12), None, max_iterations=40)
    await k.outcome(handle.id)
    one = str(handle.first_execution_run_id)
    two = (await k.client.get_workflow_handle(handle.id).describe()).run_id
    before = await entries(stores, handle.id)
    assert two != one
    assert not any(e.superseded_at for e in before)
    executions = list(dict.fromkeys(e.execution for e in before if step_of(e.key)))
    assert len(executions) >= 2
    assert (executions[0], executions[-1]) == ("", two)
    steps_then = [step_of(e.key) for e in before if step_of(e.key)]
    assert len(steps_then) == len(set(steps_then)) == 25
    # Its last execution: what the ones before it did stays.
    k.scripts[script] = bookings(13)
    three = await reset(k, handle.id, "executus.model")
    assert (await k.outcome(handle.id)).result.output == "13 bookings"
    found = await entries(stores, handle.id)
    for execution in executions[:-1]:
        assert not any(step.endswith("-") for step in steps(found, execution))
    assert all(step.endswith("-") for step in steps(found, two))
    assert len(steps(found, three)) == len(steps(before, two)) + 2
    # Its first one: all that came after goes.
    k.scripts[script] = [call("book", what="A"), say("anew")]
    four = await reset(k, handle.id, "executus.model", of=one)
    out = await k.outcome(handle.id)
    assert out.result.output == "anew"
    found = await entries(stores, handle.id)
    assert steps(found, four) == ["m1", "m1.t1", "m2"]
    standing = {e.execution for e in found if e.entry in {"row", "close"} and not e.superseded_at}
    assert standing == {four}
    run = await stores.audit.run(handle.id)  # type: ignore[union-attr]
    assert run.closed_head == out.result.audit_head


async def test_a_reset_that_an_earlier_version_went_through_replays(
    k: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knew nothing of it: the run's own timer ended it, and no marker is in the history."""
    with monkeypatch.context() as earlier:
        earlier.setattr(Run, "was_reset", lambda self, seed: None)
        handle, script = await begin(k, [say("first")], None, max_runtime=1)
        first = (await k.outcome(handle.id)).result
        k.scripts[script] = [hang()]
        await over(first, 1)
        await reset(k, handle.id, "executus.model")
        out = await k.outcome(handle.id)
    assert out.result.status is Status.TIMEOUT
    await k.replay(out.history)


async def test_a_reset_long_after_the_deadline_gives_back_the_time_that_was_left(
    k: Kit, stores: Ports
) -> None:
    handle, script = await begin(k, [call("book", what="A"), say("first")], None, max_runtime=3)
    first = (await k.outcome(handle.id)).result
    await over(first, 3)
    k.scripts[script] = [call("book", what="B"), say("second")]
    await reset(k, handle.id, "executus.model")
    out = await k.outcome(handle.id)
    assert (out.result.status, out.result.output) == (Status.OK, "second")
    [told] = [e for e in await entries(stores, handle.id) if e.entry == "reset"]
    whole = (out.result.ended_at - first.started_at).total_seconds()
    idle = (told.at - first.ended_at).total_seconds()
    charged = (await spent(stores))["seconds"][0]
    assert charged < whole - idle + 0.1, "time in which nobody worked is not charged"
    k.scripts[script] = [call("book", what="B"), hang()]
    await reset(k, handle.id, "executus.model", 1)
    out = await k.outcome(handle.id)
    assert out.result.status is Status.TIMEOUT, "there is an end to it all the same"


async def test_the_command_line_tells_both_lives_apart(
    k: Kit, stores: Ports, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handle, script = await begin(k, [call("book", what="A"), say("first")], None)
    first = (await k.outcome(handle.id)).result
    k.scripts[script] = [call("book", what="B"), say("second")]
    history = await k.client.get_workflow_handle(handle.id).fetch_history()
    place = next(
        event.activity_task_scheduled_event_attributes.workflow_task_completed_event_id
        for event in history.events
        if event.activity_task_scheduled_event_attributes.activity_type.name == "executus.model"
    )
    host = k.client.service_client.config.target_host
    command = ["workflow", "reset", "-w", handle.id, "--event-id", str(place), "--address", host]
    done = await asyncio.create_subprocess_exec(
        temporal_program(), *command, "--reason", "as an operator does it"
    )
    assert await done.wait() == 0
    last = (await k.outcome(handle.id)).result
    execution = (await k.client.get_workflow_handle(handle.id).describe()).run_id
    assert last.output == "second"

    def told(*arguments: str) -> tuple[Any, list[str]]:
        code = invoke([*arguments, "--database", url])
        return code, capsys.readouterr().out.splitlines()

    shown = await asyncio.to_thread(told, "audit", "show", handle.id)
    assert any("as an operator does it" in line for line in shown[1])
    lines = [line for line in shown[1] if " m1.t1#1" in line]
    assert "m1.t1#1      tool book complete SUPERSEDED by the reset of " in lines[0]
    assert lines[1].endswith(f"tool book complete by {execution}")
    for head, count in ((first.audit_head, 2), (last.audit_head, 1)):
        code, out = await asyncio.to_thread(told, "audit", "verify", handle.id, "--head", str(head))
        assert (code, len(out)) == (0, count)
