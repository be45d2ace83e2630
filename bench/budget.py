"""Who spends more than the cap: 64 callers claim $0.10 each, 1,000 times, against $5.00.

`naive` asks what was spent, pays, and writes it down: check, then commit. `executus` reserves
before it pays. Both on SQLite and on PostgreSQL. The second part is what one operation costs a
single caller.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, func, select

from bench.outcome import Bar, Options, Report, main
from bench.postgres import running
from executus.audit import AuditRow
from executus.budget import BudgetCall, BudgetCheck, BudgetCommit, BudgetMeter
from executus.stores.caps import CapChange
from executus.stores.database import Database
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget

CAP = 5_000_000
CLAIM = 100_000
CALL_SECONDS = (0.5, 0.9, 1.3, 1.7)
"""How long paid calls take here, one after the other; a model's take longer. Much more than a read
of the store on a busy machine: what naive callers overspend would depend on its load otherwise."""
OPERATIONS = 200
BYTES = 2_000

spent_table = Table("naive_spent", MetaData(), Column("micro_usd", BigInteger))
Claim = Callable[[str], Awaitable[bool]]


async def measure(options: Options) -> Report:
    """Both stores, both ways."""
    results: list[dict[str, Any]] = []
    bars: list[Bar] = []
    for store in options.chosen(("sqlite", "postgresql")):
        async with opened(store) as fresh:
            for callers in (64,) if options.quick else (16, 64):
                claims = 300 if options.quick else 1_000
                naive = await storm(await naive_claims(fresh()), callers, claims)
                ours = await storm(await reserving_claims(fresh()), callers, claims)
                for way, figures in (("naive", naive), ("executus", ours)):
                    results.append({"store": store, "way": way, "callers": callers, **figures})
                name = f"{store}, {callers} callers: admitted of {CAP // CLAIM}"
                bars.append(Bar.most(name, ours["admitted"], CAP // CLAIM))
                bars.append(Bar.least(name, ours["admitted"], CAP // CLAIM))
                if callers == 64:
                    over = naive["admitted"] * CLAIM / CAP
                    bars.append(Bar.least(f"{store}: naive spends, times the cap", over, 2))
            results += await operations(store, fresh())
    return Report("budget", results, bars)


@asynccontextmanager
async def opened(store: str) -> AsyncIterator[Callable[[], Database]]:
    """Makes empty databases of one kind, and closes them."""
    made: list[Database] = []
    with tempfile.TemporaryDirectory() as folder, running() as server:

        def fresh() -> Database:
            file = Path(folder) / f"{len(made)}.db"
            url = f"sqlite:///{file}" if store == "sqlite" else server.new_schema()
            made.append(Database(url, auto_migrate=True))
            return made[-1]

        yield fresh
        for database in made:
            await database.close()


async def storm(claim: Claim, callers: int, claims: int) -> dict[str, Any]:
    """All callers claim until the claims are used up."""
    names = iter(range(claims))
    admitted, waits = 0, list[float]()

    async def caller() -> None:
        nonlocal admitted
        for name in names:
            start = time.perf_counter()
            paid = await claim(f"claim{name}")
            admitted += paid
            waits.append(time.perf_counter() - start)

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    seconds = time.perf_counter() - start
    return {
        "claims": claims,
        "admitted": admitted,
        "spent_usd": admitted * CLAIM / 1e6,
        "claims_per_s": round(claims / seconds),
        "p50_ms": round(median(waits) * 1000, 1),
        "p99_ms": round(quantiles(waits, n=100)[98] * 1000, 1),
    }


async def naive_claims(database: Database) -> Claim:
    """Check, pay, commit."""
    await database.migrate()
    await database.write(spent_table.create)
    used = select(func.coalesce(func.sum(spent_table.c.micro_usd), 0))

    def read(connection: Connection) -> int:
        return int(connection.scalar(used) or 0)

    def book(connection: Connection) -> None:
        connection.execute(spent_table.insert().values(micro_usd=CLAIM))

    async def claim(name: str) -> bool:
        if await database.read(read) + CLAIM > CAP:
            return False
        await asyncio.sleep(_seconds(name))
        await database.write(book)
        return True

    return claim


async def reserving_claims(database: Database) -> Claim:
    """Reserve, pay, settle."""
    budget = SqlBudget(database)
    await budget.set_cap(CapChange("agent:*", verdict="unlimited"))
    await budget.set_cap(CapChange("caller:alice", "day", "micro_usd", CAP))

    async def claim(name: str) -> bool:
        if not (await budget.check(_check(name, CLAIM))).admitted:
            return False
        await budget.authorize(_call(name, "m1"))
        await asyncio.sleep(_seconds(name))
        await budget.meter(_meter(name, "m1"))
        await budget.commit(BudgetCommit(run_id=name, seconds=1))
        return True

    return claim


async def operations(store: str, database: Database) -> list[dict[str, Any]]:
    """What one operation costs, one after the other."""
    budget, audit = SqlBudget(database, unlimited_by_default=True), SqlAudit(database)
    await budget.set_cap(CapChange("caller:alice", "day", "micro_usd", 10**12))
    await budget.check(_check("run", 0))
    row = AuditRow(
        key="",
        kind="model",
        name="p/m",
        status="complete",
        at=datetime.now(UTC),
        content={"reply": "x" * BYTES},
    )

    async def record(number: int) -> None:
        await audit.record("run", [row.model_copy(update={"key": f"m{number}"})])

    works: dict[str, Callable[[int], Awaitable[object]]] = {
        "check": lambda n: budget.check(_check(f"run{n}", CLAIM)),
        "authorize": lambda n: budget.authorize(_call("run", f"m{n}")),
        "meter": lambda n: budget.meter(_meter("run", f"m{n}")),
        f"record {BYTES} bytes": record,
        "commit": lambda n: budget.commit(BudgetCommit(run_id=f"run{n}", seconds=1)),
    }
    results: list[dict[str, Any]] = []
    for name, work in works.items():
        waits, cpu = list[float](), time.process_time()
        for number in range(OPERATIONS):
            start = time.perf_counter()
            await work(number)
            waits.append(time.perf_counter() - start)
        cpu = (time.process_time() - cpu) / OPERATIONS
        results.append(
            {
                "store": store,
                "way": name,
                "callers": 1,
                "p50_ms": round(median(waits) * 1000, 2),
                "p99_ms": round(quantiles(waits, n=100)[98] * 1000, 2),
                "cpu_ms": round(cpu * 1000, 2),
            }
        )
    return results


def _seconds(name: str) -> float:
    return CALL_SECONDS[int(name.removeprefix("claim")) % len(CALL_SECONDS)]


def _check(run_id: str, micro_usd: int) -> BudgetCheck:
    return BudgetCheck(
        run_id=run_id,
        workflow_run_id=run_id,
        caller_id="alice",
        agent_id="bench",
        seconds=60,
        micro_usd=micro_usd,
        expires_at=datetime(2100, 1, 1, tzinfo=UTC) + timedelta(seconds=60),
    )


def _call(run_id: str, step: str) -> BudgetCall:
    return BudgetCall(run_id=run_id, step_id=step, attempt=1, tokens=1_000, micro_usd=CLAIM)


def _meter(run_id: str, step: str) -> BudgetMeter:
    return BudgetMeter(run_id=run_id, step_id=step, attempt=1, tokens=900, micro_usd=CLAIM)


if __name__ == "__main__":
    main(measure)
