"""PostgreSQL is away for 30 s while runs reserve, work, settle and close.

`python -m bench.outage [--json] [--quick]` stops a real server as a power cut would, under whole
runs on a real Temporal server, and starts it again 30 s later (6 s with --quick). Runs stand at
the door of what is to meet the outage, or are in the middle of anything:

- `reserve`: started while it is away. Must be refused, without any call of a model.
- `step`: in a tool; the next call must wait until it can be authorised.
- `commit`, `close`: done with their work. Must settle and close after it.
- `torn`: started just before, so that the crash comes in the middle of transactions.

Then every run must have one close of its own, whole chains, no hold, and tokens settled once.
"""

import asyncio
import logging
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor, Worker

from bench.harness import noted
from bench.outcome import Bar, Options, Report, main
from bench.postgres import Postgres, running
from bench.whole import problems
from executus import Invocation, Reason, RunnableAgent, RunRequest, Status
from executus.models.registry import Models
from executus.models.scripted import Scripted, call, say
from executus.plugin import ExecutusPlugin
from executus.ports import Ports
from executus.result import RunResult
from executus.runs import Runs
from executus.server import EmbeddedServer
from executus.stores.database import Database
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from executus.tools import tool

AWAY, QUICK_AWAY = 30.0, 6.0
"""Seconds."""
RUNS = 8
"""Runs of each group."""
DOORS = {
    "step": "tool.look",
    "commit": "executus.budget.commit",
    "close": "executus.audit.close",
}
"""Group -> the activity at whose door its runs stand when the outage begins."""
GROUPS = (*DOORS, "torn", "reserve")
REFUSED_SECONDS = 4.0
"""max_runtime of those that are to be refused: they ask for half of it."""


class Doors(Interceptor):
    """Holds the runs of each group at their door."""

    def __init__(self) -> None:
        self.standing: set[str] = set()
        self.open = asyncio.Event()

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's name
        return _Door(next, self)


class _Door(ActivityInboundInterceptor):
    def __init__(self, inner: ActivityInboundInterceptor, doors: Doors) -> None:
        super().__init__(inner)
        self._doors = doors

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's
        info = activity.info()
        if DOORS.get(_group(info.workflow_id or "")) == info.activity_type:
            self._doors.standing.add(info.workflow_id or "")
            await self._doors.open.wait()
        return await super().execute_activity(input)


@tool(effect="pure")
async def look() -> str:
    """Look."""
    return "seen"


async def measure(options: Options) -> Report:
    """One outage."""
    away = QUICK_AWAY if options.quick else AWAY
    with tempfile.TemporaryDirectory(prefix="executus-outage-") as folder, running() as postgres:
        database = Database(postgres.new_schema(), auto_migrate=True)
        await database.migrate()
        async with EmbeddedServer(Path(folder)) as server:
            client = await Client.connect(server.address, plugins=[_plugin(database)])
            doors = Doors()
            async with Worker(client, task_queue="outage", interceptors=[doors], build_id="bench"):
                results, seconds = await _through(Runs(client, "outage"), doors, postgres, away)
        statuses = Counter(result.status.value for result in results.values())
        found = await problems(database, "caller:ann", dict(statuses))
        await database.close()
    rows = [_row(group, results, seconds, away) for group in GROUPS]
    return Report("outage", rows, _bars(results, found))


def _plugin(database: Database) -> ExecutusPlugin:
    ports = Ports(audit=SqlAudit(database), budget=SqlBudget(database, unlimited_by_default=True))
    scripts = Scripted({"fast": [call("look"), say("done")]})
    models = Models({"fast": "scripted/fast"}, providers=[scripts])
    return ExecutusPlugin(tools=[look], models=models, ports=ports)


async def _through(
    runs: Runs, doors: Doors, postgres: Postgres, away: float
) -> tuple[dict[str, RunResult], dict[str, float]]:
    """Every run's result, and when it came: seconds after the server was back."""
    waiting: dict[str, asyncio.Task[tuple[RunResult, float]]] = {}

    async def start(group: str) -> None:
        for run_id in [f"{group}-{uuid.uuid4().hex[:8]}" for _ in range(RUNS)]:
            await runs.start(_request(group, run_id))
            waiting[run_id] = asyncio.ensure_future(_ended(runs, run_id))

    for group in DOORS:
        await start(group)
    while len(doors.standing) < RUNS * len(DOORS):  # noqa: ASYNC110 - a count, not one event
        await asyncio.sleep(0.05)
    await start("torn")
    with noted(f"PostgreSQL away for {away:.0f} s"):
        await asyncio.to_thread(postgres.crash)
        stopped = time.monotonic()
        doors.open.set()
        await start("reserve")
        await asyncio.sleep(max(0.0, stopped + away - time.monotonic()))
        await asyncio.to_thread(postgres.start)
    back = time.monotonic()
    with noted("all runs end"):
        ended = dict(zip(waiting, await asyncio.gather(*waiting.values()), strict=True))
    results = {run_id: result for run_id, (result, _) in ended.items()}
    return results, {run_id: at - back for run_id, (_, at) in ended.items()}


async def _ended(runs: Runs, run_id: str) -> tuple[RunResult, float]:
    return await runs.result(run_id), time.monotonic()


def _request(group: str, run_id: str) -> RunRequest:
    seconds = REFUSED_SECONDS if group == "reserve" else 120.0
    agent = RunnableAgent(name=group, tools=("look",), max_runtime=seconds)
    return RunRequest(
        agent=agent, invocation=Invocation(prompt="go", caller_id="ann", run_id=run_id)
    )


def _group(run_id: str) -> str:
    return run_id.partition("-")[0]


def _row(
    group: str, results: dict[str, RunResult], seconds: dict[str, float], away: float
) -> dict[str, Any]:
    mine = [result for run_id, result in results.items() if _group(run_id) == group]
    ends = Counter(f"{result.status.value}/{result.reason.value}" for result in mine)
    return {
        "group": group,
        "away_s": away,
        "runs": len(mine),
        "ended": ", ".join(f"{count} {end}" for end, count in ends.items()),
        "model_calls": sum(result.usage.model_calls for result in mine),
        "last_end_s_after": round(max(seconds[result.run_id] for result in mine), 1),
    }


def _bars(results: dict[str, RunResult], found: list[str]) -> list[Bar]:
    def bad(group: str, *, refused: bool) -> int:
        mine = [result for run_id, result in results.items() if _group(run_id) == group]
        return sum(not (_refused(result) if refused else _landed(result)) for result in mine)

    torn = [result for run_id, result in results.items() if _group(run_id) == "torn"]
    return [
        Bar.most(
            "reserve: runs that were not refused, or called a model",
            bad("reserve", refused=True),
            0,
        ),
        *(
            Bar.most(f"{group}: runs that did not end well after it", bad(group, refused=False), 0)
            for group in DOORS
        ),
        Bar.most(
            "torn: runs that neither ended well nor were refused",
            sum(not (_landed(result) or _refused(result)) for result in torn),
            0,
        ),
        Bar.most(f"problems in the records {found[:2] or ''}".strip(), len(found), 0),
    ]


def _landed(result: RunResult) -> bool:
    return (result.status, result.warnings) == (Status.OK, ()) and result.audit_head is not None


def _refused(result: RunResult) -> bool:
    return result.reason is Reason.BUDGET_UNAVAILABLE and result.usage.model_calls == 0


if __name__ == "__main__":
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)  # every try that failed
    main(measure)
