"""A connection that breaks after its COMMIT: the store tries again, and nothing counts twice."""

from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from executus.audit import AuditReceipt
from executus.budget import BudgetCommit, BudgetReceipt, BudgetUse
from executus.stores.caps import CapChange
from executus.stores.database import Database
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from tests.stores.clocks import call, check, closing, meter, opening, row


def lose_answers(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Lose the answer to the first try of each write from now on; answers a list of them."""
    lost: list[Any] = []
    transact = database._backend.transact

    async def lossy(work: Any, *, write: bool) -> Any:
        value = await transact(work, write=write)
        if write and (not lost or lost[-1] is not work):
            lost.append(work)
            raise DBAPIError(None, None, ConnectionError("gone"), connection_invalidated=True)
        return value

    monkeypatch.setattr(database._backend, "transact", lossy)
    return lost


async def test_caps_change_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = SqlBudget(database)
    lost = lose_answers(database, monkeypatch)
    first = await budget.set_cap(CapChange("caller:alice", "day", "tokens", 100, by="bob"))
    raised = await budget.raise_cap("caller:alice", "day", "tokens", 10, by="bob")
    again = await budget.raise_cap("caller:alice", "day", "tokens", 10, by="bob")
    assert len(lost) == 3
    assert await budget.caps() == [first, raised, again]
    assert [(v.version, v.cap) for v in (first, raised, again)] == [(1, 100), (2, 110), (3, 120)]


async def test_a_run_is_counted_and_recorded_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, audit = SqlBudget(database), SqlAudit(database)
    for scope in ("agent:*", "tenant:*"):
        await budget.set_cap(CapChange(scope, verdict="unlimited"))
    await budget.set_cap(CapChange("caller:alice", "day", "tokens", 1_000))

    async def whole(run_id: str) -> tuple[BudgetReceipt, AuditReceipt]:
        assert (await budget.check(check(run_id, tokens=10))).admitted
        await audit.start(opening(run_id))
        assert (await budget.authorize(call(run_id, tokens=20))).admitted
        await budget.meter(meter(run_id, tokens=25))
        await audit.record(run_id, [row()])
        settled = await budget.commit(BudgetCommit(run_id=run_id, seconds=0))
        return settled, await audit.close(closing(run_id))

    async def used() -> BudgetUse:
        shown = await budget.show("caller:alice")
        return next(use for use in shown if (use.window, use.currency) == ("day", "tokens"))

    settled, closed = await whole("a")
    once = (await used()).settled
    lost = lose_answers(database, monkeypatch)
    settled_again, closed_again = await whole("b")
    assert len(lost) == 7
    assert (settled_again, closed_again.rows) == (settled, closed.rows)
    assert ((await used()).settled, (await used()).reserved) == (2 * once, 0)
    assert len(await budget.overruns("b")) == len(await budget.overruns("a")) == 1
    assert (await audit.verify()).ok
