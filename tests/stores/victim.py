"""A process that runs many runs' records and money, made to be killed at any moment."""

import asyncio
import os
import random
from datetime import timedelta
from pathlib import Path

from executus.budget import BudgetCommit
from executus.errors import StoreError
from executus.stores.database import Database
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from tests.stores.clocks import NOW, call, check, closing, meter, opening, row

STEPS = 3
WORST = 50


async def one_run(budget: SqlBudget, audit: SqlAudit, run_id: str, life: str, journal: int) -> None:
    """One run as its activities would do it; `life` tells this process's attempts apart."""
    await budget.check(check(run_id, tokens=10, expires_at=NOW + timedelta(seconds=60)))
    await audit.start(opening(run_id))
    for step in range(STEPS):
        key = f"m{step}"
        paid = call(run_id, key, tokens=WORST, execution_id=life)
        if (await budget.authorize(paid)).admitted:
            cost = random.randint(0, WORST)  # noqa: S311 - any
            os.write(journal, f"{run_id} {cost}\n".encode())  # the provider's own bill
            await budget.meter(meter(run_id, key, tokens=cost, execution_id=life))
        await audit.record(run_id, [row(f"{key}#{life}")])
    await audit.close(closing(run_id))
    await budget.commit(BudgetCommit(run_id=run_id, seconds=1))


async def work(url: str, life: str, runs: int, journal_path: Path) -> None:
    database = Database(url, pool_size=2)
    budget, audit = SqlBudget(database, unlimited_by_default=True), SqlAudit(database)
    journal = os.open(journal_path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    names = [f"run{number}" for number in range(runs)]
    random.Random(life).shuffle(names)  # noqa: S311 - any order
    for name in names:
        while True:
            try:
                await one_run(budget, audit, name, life, journal)
                break
            except StoreError:
                await asyncio.sleep(0.05)
    await database.close()


def main(url: str, life: str, runs: int, journal: Path) -> None:
    asyncio.run(work(url, life, runs, journal))
