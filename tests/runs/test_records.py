"""Whole runs on the SQL stores: SQLite and a real PostgreSQL, with poison, outages and deaths."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from executus import Invocation, Reason, RunnableAgent, RunRequest, Status
from executus.limits import Defaults
from executus.models.scripted import call, calls, hang, say
from executus.ports import Ports
from executus.server_program import DYNAMIC_ARGUMENTS
from executus.stores.caps import CapChange
from executus.stores.database import Database
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from executus.sweeper import Sweeper
from executus.sweeper_workflow import SweepInput
from executus.tools import tool
from tests.conftest import temporal_program

from .gate import Gate
from .kit import kit

NOW = SweepInput(everything=True, grace=0)
POISON = [
    "nul \x00 nul",
    "surrogate \ud800 alone",
    "\x1b[31mred\x1b[0m \u202e bidi \u2028 line",
    "'; DROP TABLE runs; --",
    "x" * 10_000_000,
]


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(effect="pure")
async def poison(n: int) -> object:
    """Return something nobody can store."""
    more = [float("nan"), 10**5_000, {"k\x00": float("inf")}, b"\xff\xfe"]
    return [*POISON, *more][n]


TOOLS = [add, poison]
NAMES = ("add", "poison")


@pytest.fixture
async def stores(database: Database):
    return Ports(audit=SqlAudit(database), budget=SqlBudget(database, unlimited_by_default=True))


async def assert_recorded(ports: Ports, result, *, closed_by: str = "run") -> None:
    run = await ports.audit.run(result.run_id)
    assert run is not None
    assert (run.n_close, run.closed_by) == (1, closed_by)
    assert (run.status, run.reason) == (result.status, result.reason)
    assert (await ports.audit.verify(result.run_id)).ok
    assert await ports.budget.hold(result.run_id) is None, "a leaked hold"


async def test_a_run_is_recorded_and_its_chain_verifies(env, stores):
    async with kit(env, tools=TOOLS, ports=stores) as k:
        out = await k.run([call("add", a=1, b=2), say("3")], tools=NAMES)
        assert out.result.status is Status.OK
        assert out.result.audit_head == (await stores.audit.run(out.result.run_id)).closed_head
        await assert_recorded(stores, out.result)
        entries = await stores.audit.rows(out.result.run_id)
        kinds = [entry.key for entry in entries if entry.key]
        assert {"m1#1", "m1.t1#1", "m2#1"} <= set(kinds)


async def test_poison_in_every_slot_is_recorded_and_the_run_closes(env, stores):
    async with kit(env, tools=TOOLS, ports=stores) as k:
        replies = [call("poison", n=n) for n in range(9)]
        texts = [say(text[:300_000] + " and on", stop="end") for text in POISON[:2]]
        for last in texts:
            out = await k.run(
                [*replies, last], tools=NAMES, max_iterations=30, prompt="p \x00 \x1b[0m"
            )
            assert out.result.status is Status.OK, out.result.error
            assert "\x00" not in out.result.output
            await assert_recorded(stores, out.result)


async def test_a_cap_admits_as_many_concurrent_runs_as_it_pays_for(env, stores):
    budget = stores.budget
    await budget.set_cap(CapChange("caller:ann", "day", "seconds", 300.0, by="test"))
    gate = Gate("executus.model")
    async with kit(env, tools=TOOLS, ports=stores, interceptors=[gate]) as k:
        handles = [await k.start([say("ok")], max_runtime=60) for _ in range(20)]

        async def asked(handle):
            while (await k.runs.state(handle.id)).stage == "starting":
                await asyncio.sleep(0.02)

        await asyncio.gather(*(asked(handle) for handle in handles))
        gate.open.set()
        results = [await k.runs.result(handle.id) for handle in handles]
        admitted = [r for r in results if r.status is Status.OK]
        assert len(admitted) == 5
        assert {r.reason for r in results} == {Reason.ANSWER, Reason.BUDGET_REJECTED}
        told = {(r.error or "").rpartition("; ")[2] for r in results if r not in admitted}
        assert all(text.startswith("try again in ") for text in told), told


async def test_a_run_that_no_waiting_helps_is_told_so_before_anything_is_paid(env, stores):
    await stores.budget.set_cap(CapChange("caller:ann", "day", "seconds", 10.0, by="test"))
    async with kit(env, tools=TOOLS, ports=stores) as k:
        result = (await k.run([say("never")], max_runtime=60)).result
        assert result.reason is Reason.BUDGET_REJECTED
        assert result.usage.model_calls == 0
        assert result.error == (
            "budget: caller:ann has no room in its day cap of 10 s: 0 s used, 0 s held, "
            "60 s asked for; waiting does not help"
        )
        await assert_recorded(stores, result)


@pytest.mark.parametrize("death", ["terminate", "execution timeout", "reset"])
async def test_after_one_sweep_a_dead_run_is_closed_once_with_the_truth(env, stores, death):
    client = await Client.connect(env.client.service_client.config.target_host)
    async with kit(env, tools=TOOLS, ports=stores, client=client) as k:
        run_id = f"dead-{death[:4]}-{k.queue}"
        request = k.request([hang()], run_id=run_id, max_runtime=600)
        options = {"execution_timeout": timedelta(seconds=1.5)} if death[0] == "e" else {}
        handle = await k.client.start_workflow(
            "executus.AgentRun", request, id=run_id, task_queue=k.queue, **options
        )
        while (await k.runs.state(run_id)).steps_total < 1:
            await asyncio.sleep(0.02)
        sweeper = Sweeper(k.client, stores.audit, stores.budget)
        assert (await sweeper.sweep(NOW)).live >= 1, "a live run is not touched"
        if death == "terminate":
            await handle.terminate("operator")
        elif death == "reset":
            await k.runs.cancel(run_id, "enough")
            await k.runs.result(run_id)
            await _reset(k, run_id)
        result = await k.runs.result(run_id)
        one, two = await asyncio.gather(sweeper.sweep(NOW), sweeper.sweep(NOW))
        swept = [run for run in (*one.swept, *two.swept) if run.run_id == run_id and run.closed]
        assert bool(swept) == (death != "reset")
        await assert_recorded(stores, result, closed_by="run" if death == "reset" else "sweeper")


async def _reset(k, run_id: str) -> None:
    """`temporal workflow reset` to the last workflow task: the close runs again."""
    from temporalio.api.common.v1 import WorkflowExecution
    from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

    history = await k.client.get_workflow_handle(run_id).fetch_history()
    last = max(
        e.event_id for e in history.events if e.HasField("workflow_task_completed_event_attributes")
    )
    await k.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=k.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=run_id),
            reason="operator",
            workflow_task_finish_event_id=last,
            request_id="r",
        )
    )


async def test_a_run_that_the_history_limit_ended_is_closed_by_the_sweeper(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/store.db")
    await database.migrate()
    ports = Ports(audit=SqlAudit(database), budget=SqlBudget(database, unlimited_by_default=True))
    limits = ["--dynamic-config-value", "limit.historyCount.error=200"]
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=temporal_program(),
        dev_server_extra_args=[*DYNAMIC_ARGUMENTS, *limits, "--log-level", "never"],
    ) as server:

        class Env:
            client = server.client
            max_cached_workflows = 100

        async with kit(Env, tools=TOOLS, ports=ports) as k:
            script = [call("add", a=n, b=1) for n in range(100)]
            handle = await k.start(script, tools=NAMES, max_iterations=200, max_runtime=60)
            result = await k.runs.result(handle.id)
            assert (result.status, result.reason) == (Status.ERROR, Reason.TERMINATED)
            report = await Sweeper(k.client, ports.audit, ports.budget).sweep(NOW)
            assert [run.run_id for run in report.swept] == [handle.id]
            await assert_recorded(ports, result, closed_by="sweeper")
    await database.close()


async def test_postgres_away_during_reserve_commit_and_close(env, postgres):
    """A short outage here; bench/outage.py holds it for 30 s. Nothing is lost, nothing twice."""
    database = Database(postgres.new_schema())
    await database.migrate()
    ports = Ports(audit=SqlAudit(database), budget=SqlBudget(database, unlimited_by_default=True))
    client = await Client.connect(env.client.service_client.config.target_host)
    gate = Gate("executus.budget.commit")
    async with kit(env, tools=TOOLS, ports=ports, client=client, interceptors=[gate]) as k:
        handle = await k.start([call("add", a=1, b=1), say("ok")], tools=NAMES, max_runtime=60)
        await gate.entered.wait()
        postgres.crash()
        try:
            gate.open.set()
            shut_out = await k.start([say("never")], max_runtime=6)
            while (await k.runs.state(shut_out.id)).stage != "closing":
                await asyncio.sleep(0.05)
        finally:
            postgres.start()
        rejected = await k.runs.result(shut_out.id)
        assert rejected.reason is Reason.BUDGET_UNAVAILABLE, "it fails closed"
        assert rejected.usage.model_calls == 0
        await assert_recorded(ports, rejected)
        result = await k.runs.result(handle.id)
        assert (result.status, result.warnings) == (Status.OK, ())
        await assert_recorded(ports, result)
    await database.close()


async def test_steps_of_an_audit_outage_are_written_by_the_close(env, stores, monkeypatch):
    real = SqlAudit.record
    down = {"now": True}

    async def record(self, run_id, rows):
        if down["now"] and any(row.kind != "event" for row in rows):
            raise OSError("the database is away")
        await real(self, run_id, rows)

    monkeypatch.setattr(SqlAudit, "record", record)
    gate = Gate("executus.audit.close")
    async with kit(env, tools=TOOLS, ports=stores, interceptors=[gate]) as k:
        script = [calls(("add", {"a": 1, "b": 2}), ("run_status", {})), say("3")]
        handle = await k.start(script, tools=NAMES)
        await gate.entered.wait()
        down["now"] = False
        gate.open.set()
        out = await k.outcome(handle.id)
        assert out.result.status is Status.OK
        entries = {e.key: e for e in await stores.audit.rows(handle.id) if e.key}
        assert {"m1#1", "m1.t1#1", "m2#1"} <= set(entries)
        assert "3" in str(entries["m1.t1#1"].body)
        await assert_recorded(stores, out.result)


async def test_a_parents_hold_pays_for_its_children(env, stores):
    budget = stores.budget
    await budget.set_cap(CapChange("caller:ann", "day", "seconds", 100.0, by="test"))
    gate = Gate("executus.model")
    async with kit(env, ports=stores, interceptors=[gate], defaults=Defaults()) as k:
        parent = await k.start([say("ok")], max_runtime=90)
        await gate.entered.wait()
        agent = RunnableAgent(name="child", model_tier="scripted/echo", max_runtime=60)
        asked = Invocation(prompt="hi", caller_id="ann", parent_run_id=parent.id)
        child = await k.runs.start(RunRequest(agent=agent, invocation=asked))
        stranger = asked.model_copy(update={"parent_run_id": None})
        refused = await k.runs.run(RunRequest(agent=agent, invocation=stranger))
        assert refused.reason is Reason.BUDGET_REJECTED
        gate.open.set()
        assert (await k.runs.result(child.id)).status is Status.OK
        assert (await k.runs.result(parent.id)).status is Status.OK
