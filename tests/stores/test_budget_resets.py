"""What the budget does with a run that was reset: the same in memory and on both databases."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from executus.budget import BudgetCommit
from executus.stores.caps import CapChange
from executus.stores.database import Database
from executus.stores.memory import MemoryBudget
from executus.stores.migrations import MIGRATIONS
from executus.stores.sql_budget import SqlBudget
from tests.stores.clocks import call, check, meter

AnyBudget = MemoryBudget | SqlBudget
CENT = 10_000


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def budget(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyBudget]:
    if request.param == "memory":
        yield MemoryBudget(unlimited_by_default=True)
        return
    postgres = request.param == "postgresql"
    url = f"sqlite:///{tmp_path}/a.db"
    database = Database(request.getfixturevalue("postgres").new_schema() if postgres else url)
    await database.migrate()
    yield SqlBudget(database, unlimited_by_default=True)
    await database.close()


async def used(budget: AnyBudget, currency: str = "micro_usd") -> tuple[float, float]:
    uses = await budget.show("caller:alice")
    [found] = [use for use in uses if (use.window, use.currency) == ("total", currency)]
    return found.settled, found.reserved


async def spend(budget: AnyBudget, execution: str, **fields: Any) -> bool:
    decision = await budget.authorize(
        call(micro_usd=CENT, tokens=5, execution_id=execution, **fields)
    )
    if decision.admitted:
        await budget.meter(meter(micro_usd=CENT, tokens=5, execution_id=execution))
    return decision.admitted


async def test_a_settled_hold_is_opened_again_and_both_calls_are_counted(
    budget: AnyBudget,
) -> None:
    await budget.check(check(seconds=60))
    assert await spend(budget, "first")
    await budget.commit(BudgetCommit(run_id="run", seconds=8))
    assert not await spend(budget, "first"), "an attempt that outlived its run spends nothing"
    assert await spend(budget, "second", reset_seconds=52.0)
    assert await used(budget) == (0, 2 * CENT)
    assert await used(budget, "seconds") == (0, 60)
    end = BudgetCommit(run_id="run", seconds=7_200, since_reset=4, execution_id="second")
    receipt = await budget.commit(end)
    assert (receipt.seconds, receipt.micro_usd, receipt.tokens) == (12, 2 * CENT, 10)
    assert await budget.commit(end) == receipt
    assert await used(budget) == (2 * CENT, 0)
    assert await used(budget, "seconds") == (12, 0)
    assert await budget.hold("run") is None
    assert await budget.overruns("run") == []


async def test_a_reset_does_not_pass_a_cap(budget: AnyBudget) -> None:
    await budget.set_cap(CapChange("caller:alice", "day", "micro_usd", 1.5 * CENT))
    await budget.check(check())
    assert await spend(budget, "first")
    receipt = await budget.commit(BudgetCommit(run_id="run", seconds=1))
    assert not await spend(budget, "second", reset_seconds=1.0)
    assert await used(budget) == (CENT, 0)
    assert await budget.hold("run") is None, "nothing is left open"
    assert await budget.commit(BudgetCommit(run_id="run", seconds=9, since_reset=1)) == receipt


async def test_a_run_that_was_reset_to_its_beginning_reserves_again(budget: AnyBudget) -> None:
    await budget.check(check(seconds=60))
    await budget.commit(BudgetCommit(run_id="run", seconds=10))
    assert not (await budget.check(check(seconds=60))).admitted
    assert (await budget.check(check(seconds=90, reset=True))).admitted
    assert await used(budget, "seconds") == (0, 100)
    await budget.commit(BudgetCommit(run_id="run", seconds=99, since_reset=5))
    assert await used(budget, "seconds") == (15, 0)
    running = check("other", seconds=60)
    await budget.check(running)
    again = running.model_copy(update={"seconds": 90.0, "reset": True})
    assert (await budget.check(again)).admitted, "it had not ended; its agent has changed"
    await budget.commit(BudgetCommit(run_id="other", seconds=1))
    assert await used(budget, "seconds") == (16, 0)


async def test_a_child_that_is_reset_counts_once_for_its_parent(budget: AnyBudget) -> None:
    await budget.check(check("parent", seconds=100))
    await budget.check(check("run", seconds=20, parent_run_id="parent"))
    assert await spend(budget, "first")
    await budget.commit(BudgetCommit(run_id="run", seconds=10))
    assert await spend(budget, "second", reset_seconds=10.0)
    await budget.commit(BudgetCommit(run_id="run", seconds=50, since_reset=5))
    receipt = await budget.commit(BudgetCommit(run_id="parent", seconds=40))
    assert receipt.seconds == 25, "the rest is the child's"
    assert await used(budget, "seconds") == (40, 0)
    assert await used(budget) == (2 * CENT, 0)


async def test_a_database_of_before_is_brought_up_and_its_runs_can_be_reset(url: str) -> None:
    """Made by the version before resets: one step of the schema less, and its rows in it."""
    database = Database(url)
    await database.migrate()
    budget = SqlBudget(database, unlimited_by_default=True)
    assert MIGRATIONS[-1].name == "0004_reset"

    def older(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE budget_runs DROP COLUMN before_ms"))
        connection.execute(text("DELETE FROM executus_migrations WHERE name = '0004_reset'"))

    await budget.check(check())
    await spend(budget, "first")
    await budget.commit(BudgetCommit(run_id="run", seconds=1))
    await database.write(older)
    assert await database.migrate() == ["0004_reset"]
    await budget.ready()
    assert await spend(budget, "second", reset_seconds=1.0)
    assert (await budget.commit(BudgetCommit(run_id="run", seconds=1))).micro_usd == 2 * CENT
    await database.close()
