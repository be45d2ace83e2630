"""What must hold when processes are killed and the database goes away."""

import asyncio
import multiprocessing
import random
import time
from collections import Counter
from datetime import timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from bench.postgres import Postgres
from executus.budget import BudgetCommit
from executus.errors import StoreError
from executus.stores.database import Database
from executus.stores.schema import audit_runs, budget_attempts, budget_runs, budget_scopes
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from tests.stores import victim
from tests.stores.clocks import NOW, call, check, closing, meter, opening, row

PROCESSES = 8
KILLS = 100
RUNS = 400


def storm(url: str, journal: Path) -> int:
    """Kill processes at random moments, each replaced at once; answers how many were killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.stores.victim"])
    chance = random.Random(7)  # noqa: S311 - a fixed order of kills
    lives = iter(range(10_000))

    def spawn() -> ForkServerProcess:
        process = context.Process(
            target=victim.main, args=(url, f"life{next(lives)}", RUNS, journal)
        )
        process.start()
        return process

    processes = [spawn() for _ in range(PROCESSES)]
    killed = 0
    while killed < KILLS:
        time.sleep(chance.uniform(0.04, 0.14))
        index = chance.randrange(PROCESSES)
        if processes[index].is_alive():
            processes[index].kill()
            killed += 1
        processes[index].join()
        processes[index] = spawn()
    for process in processes:
        process.kill()
        process.join()
        process.close()
    return killed


def facts(connection: Connection) -> dict[str, Any]:
    share = func.sum(budget_runs.c.share_tokens)
    need = func.sum(budget_runs.c.need_tokens)
    attempts = select(budget_attempts.c.state, func.count()).group_by(budget_attempts.c.state)
    scope = select(budget_scopes).where(budget_scopes.c.scope == "caller:alice")
    return {
        "share": connection.scalar(select(share)),
        "need": connection.scalar(select(need)),
        "held": connection.scalar(select(share).where(budget_runs.c.n_settle == 0)) or 0,
        "settles": set(connection.scalars(select(budget_runs.c.n_settle))),
        "closes": set(connection.scalars(select(audit_runs.c.n_close))),
        "attempts": dict(tuple(r) for r in connection.execute(attempts)),
        "scope": connection.execute(scope).one(),
        "spent": {r.run_id: r.share_tokens for r in connection.execute(select(budget_runs))},
    }


async def sweep(budget: SqlBudget, audit: SqlAudit) -> None:
    """What the sweeper does, with "they all died" for Temporal's answer."""
    later = NOW + timedelta(days=1)
    for hold in await budget.holds_past(later, limit=10_000):
        await budget.commit(BudgetCommit(run_id=hold.run_id, seconds=1))
    for run in await audit.open_past(later, limit=10_000):
        end = closing(run.run_id, status="error", reason="terminated", closed_by="sweeper")
        await audit.close(end)


@pytest.mark.timeout(180)
async def test_a_hundred_killed_processes_leave_exact_sums_and_whole_chains(
    url: str, tmp_path: Path
) -> None:
    database = Database(url)
    await database.migrate()
    budget, audit = SqlBudget(database, unlimited_by_default=True), SqlAudit(database)
    journal = tmp_path / "journal"
    assert await asyncio.to_thread(storm, url, journal) >= KILLS
    before = await database.read(facts)
    assert before["scope"].reserved_tokens == before["held"], "holds are what their runs hold"
    await asyncio.gather(*(sweep(budget, audit) for _ in range(2)))
    after = await database.read(facts)
    assert after["settles"] == {1}
    assert after["closes"] == {1}
    assert after["scope"].reserved_tokens == 0
    assert after["scope"].settled_tokens == after["share"] == after["need"]
    # Whether a kill falls between a call and its meter is chance; nothing else may be there.
    assert {"metered"} <= set(after["attempts"]) <= {"metered", "lost"}
    billed: Counter[str] = Counter()
    for line in journal.read_text().splitlines():
        run_id, cost = line.split()
        billed[run_id] += int(cost)
    assert len(billed) > 5
    for run_id, cost in billed.items():
        assert after["spent"][run_id] >= cost, "what the provider billed is charged"
    assert after["share"] - billed.total() <= after["attempts"]["lost"] * victim.WORST
    proof = await audit.verify()
    assert proof.ok, proof.breaks
    await database.close()


async def test_an_outage_fails_reserves_closed_and_settles_and_closes_land_once_after_it(
    postgres: Postgres,
) -> None:
    database = Database(postgres.new_schema())
    await database.migrate()
    budget, audit = SqlBudget(database, unlimited_by_default=True), SqlAudit(database)
    refused: list[str] = []
    down = asyncio.Event()

    async def until_it_lands(work: Any) -> Any:
        while True:
            try:
                return await work()
            except StoreError:
                await asyncio.sleep(0.1)

    async def live(name: str) -> None:
        await until_it_lands(lambda: budget.check(check(name, tokens=10)))
        await until_it_lands(lambda: audit.start(opening(name)))
        await until_it_lands(lambda: budget.authorize(call(name, tokens=20)))
        await until_it_lands(lambda: audit.record(name, [row()]))
        await until_it_lands(lambda: budget.meter(meter(name, tokens=15)))
        if name != "run0":
            await down.wait()
        settle = BudgetCommit(run_id=name, seconds=2)
        await until_it_lands(lambda: budget.commit(settle))
        await until_it_lands(lambda: audit.close(closing(name)))

    await live("run0")
    lives = [asyncio.ensure_future(live(f"run{number}")) for number in range(1, 30)]
    await asyncio.sleep(0.15)  # some are in the middle of a transaction
    await asyncio.to_thread(postgres.crash)
    down.set()
    try:
        for number in range(3):
            try:
                decision = await budget.check(check(f"down{number}"))
                pytest.fail(f"the store is down and said {decision}")
            except StoreError as failure:
                refused.append(str(failure))
            await asyncio.sleep(0.3)
    finally:
        await asyncio.to_thread(postgres.start)
    await asyncio.gather(*lives)
    after = await database.read(facts)
    assert len(refused) == 3
    assert after["settles"] == after["closes"] == {1}
    assert after["scope"].settled_tokens == 30 * 15
    assert after["scope"].reserved_tokens == 0
    assert after["attempts"] == {"metered": 30}
    assert (await audit.verify()).ok
    await database.close()


async def test_a_process_that_holds_sqlites_lock_delays_others_and_breaks_nothing(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    one, other = Database(url), Database(url)
    await one.migrate()

    def hold(connection: Connection) -> None:
        time.sleep(1)

    holding = asyncio.ensure_future(one.write(hold))
    await asyncio.sleep(0.1)
    start = time.monotonic()
    await SqlAudit(other).start(opening())
    assert time.monotonic() - start > 0.5
    await holding
    assert (await SqlAudit(one).verify()).runs == 1
    await one.close()
    await other.close()
