"""Text and numbers that one database takes and the other refuses: the same on both, always stored.

The set is reliability.md F13 and T11. A record that cannot be written is a run that never closes.
"""

from datetime import UTC, datetime
from typing import Any

import pytest

from executus.audit import ToolGrant
from executus.budget import BudgetCommit
from executus.sanitize import clean_text
from executus.stores.canonical import MAX_IDENT, canonical, ident
from executus.stores.caps import CapChange
from executus.stores.database import Database
from executus.stores.memory import MemoryAudit, MemoryBudget
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from executus.usage import Usage
from tests.stores.clocks import Clock, call, check, closing, meter, opening, row

HUGE = 10**5_000
TEXTS = {
    "nul": "a\x00b",
    "lone surrogate": "a\ud800b",
    "long line": "x" * 10_000_000,
    "terminal escape": "\x1b]0;pwned\x07\x1b[2J\x9b31m",
    "bidi and newlines": "a\u202eb\r\nc\u2028d",
    "sql": "'; DROP TABLE audit_runs; --",
    "format": "%s %(x)s {0} :name ? $1",
    "astral": "\U0001f600" * 300,
}
VALUES = {
    "nan": float("nan"),
    "infinity": float("-inf"),
    "huge integer": HUGE,
    "deep": None,
}


def deep(levels: int = 100) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("name", TEXTS)
async def test_poison_text_in_every_column_is_stored_alike(database: Database, name: str) -> None:
    poison = TEXTS[name]
    # Fields with a length are refused by the type itself when they hold a lone surrogate.
    short = clean_text(poison[:100])
    audits = SqlAudit(database), MemoryAudit()
    texts = ("workflow_run_id", "parent_run_id", "agent_id", "agent_name", "caller_id")
    fields: dict[str, Any] = dict.fromkeys((*texts, "tenant_id", "channel_id", "prompt"), poison)
    grant = ToolGrant(name=poison, digest=poison, effect=poison)
    fields |= {"inputs": {poison: poison}, "models": (poison,), "prices": {poison: poison}}
    start = opening(poison, **fields, tools=(grant,))
    step = row(
        short,
        name=poison,
        status=poison,
        summary=short,
        content={poison: poison, "nested": [{poison: [poison]}]},
    )
    receipts = []
    for audit in audits:
        await audit.start(start)
        await audit.record(poison, [step])
        receipts.append(
            await audit.close(closing(opening=start, output=poison, error=poison, status="error"))
        )
        run = await audit.run(poison)
        assert run is not None
        assert (await audit.verify(poison)).entries == 3
        assert (await audit.verify()).ok
        assert [r.run_id for r in await audit.runs(caller_id=poison)] == [ident(poison)]
        assert await audit.keys(poison) == {ident(short)}
        assert run.agent_name.isprintable()
    assert receipts[0] == receipts[1]


@pytest.mark.parametrize("name", VALUES)
async def test_poison_values_are_stored_alike(database: Database, name: str) -> None:
    poison = deep() if name == "deep" else VALUES[name]
    big = HUGE if name == "huge integer" else 7
    receipts = []
    for audit in (SqlAudit(database), MemoryAudit()):
        start = opening(inputs={"v": poison}, prices={"v": poison})
        usage = Usage(input_tokens=big)
        content = {"v": poison, "list": [poison]}
        seconds = poison if isinstance(poison, float) else 1.0
        step = row(content=content, usage=usage, cost_micro_usd=big, seconds=seconds)
        await audit.record("run", [step])
        end = closing(opening=start, usage=usage, cost_micro_usd=big, steps=big, iterations=big)
        receipts.append(await audit.close(end))
        assert (await audit.verify()).ok
        run = await audit.run("run")
        assert run is not None
        assert run.cost_micro_usd == (7 if big == 7 else None)
    assert receipts[0] == receipts[1]


async def test_the_first_and_last_moment_there_is_are_stored_alike(database: Database) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - counts as UTC
    ends = (datetime.min, datetime.max)  # noqa: DTZ901 - given their zone below
    for at in (*(end.replace(tzinfo=UTC) for end in ends), naive):
        receipts = []
        for audit in (SqlAudit(database), MemoryAudit()):
            start = opening(f"run{at.year}", started_at=at, deadline_at=at)
            receipts.append(await audit.close(closing(opening=start, ended_at=at)))
            run = await audit.run(f"run{at.year}")
            assert run is not None
            assert run.started_at == at.replace(tzinfo=UTC)
        assert receipts[0] == receipts[1]


@pytest.mark.parametrize("name", TEXTS)
async def test_poison_in_every_part_of_the_budget_is_counted_alike(
    clocked: Database, clock: Clock, name: str
) -> None:
    poison = TEXTS[name]
    shown = []
    for budget in (SqlBudget(clocked), MemoryBudget(clock=clock)):
        await budget.set_cap(CapChange("agent:*", verdict="unlimited", by=poison, note=poison))
        await budget.set_cap(CapChange("tenant:*", verdict="unlimited"))
        await budget.set_cap(CapChange(f"caller:{poison}", "day", "tokens", 100))
        names = {"caller_id": poison, "agent_id": poison, "tenant_id": poison}
        ask = check(poison, workflow_run_id=poison, **names)
        for _ in range(2):
            assert (await budget.check(ask)).admitted
        paid = call(poison, poison, tokens=60, execution_id=poison)
        for _ in range(2):
            assert (await budget.authorize(paid)).admitted
        refused = await budget.authorize(call(poison, "m2", tokens=60))
        assert not refused.admitted
        assert refused.message.isprintable()
        await budget.meter(meter(poison, poison, tokens=50, execution_id=poison))
        await budget.commit(BudgetCommit(run_id=poison, seconds=1.5))
        use = await budget.show(f"caller:{poison}")
        shown.append([(u.scope, u.window, u.currency, u.settled, u.reserved) for u in use])
    assert shown[0] == shown[1]


async def test_amounts_beyond_64_bits_are_counted_alike_and_never_fail(database: Database) -> None:
    shown = []
    for budget in (
        SqlBudget(database, unlimited_by_default=True),
        MemoryBudget(unlimited_by_default=True),
    ):
        assert (await budget.check(check(tokens=HUGE, micro_usd=HUGE, seconds=1e300))).admitted
        await budget.authorize(call(tokens=HUGE, micro_usd=HUGE, attempt=HUGE))
        await budget.meter(meter(tokens=HUGE, micro_usd=HUGE, attempt=HUGE))
        await budget.authorize(call(tokens=HUGE, micro_usd=HUGE))
        await budget.commit(BudgetCommit(run_id="run", seconds=1e308))
        use = await budget.show("caller:alice")
        shown.append([(u.settled, u.reserved) for u in use])
    assert shown[0] == shown[1]


def test_identifiers_that_had_to_be_changed_stay_apart() -> None:
    names = ["a\ud800", "a\ud801", "a\x00", "a\x1b", "a\ufffd", "a", "x" * 300, "x" * 301]
    assert len({ident(name) for name in names}) == len(names)
    assert all(len(ident(name).encode()) <= MAX_IDENT for name in names)
    assert ident("plain-id_1") == "plain-id_1"


def test_canonical_text_is_ascii_and_does_not_depend_on_key_order() -> None:
    one = canonical({"b": [1, "é"], "a": {"y": None, "x": float("nan")}})
    assert one == canonical({"a": {"x": float("nan"), "y": None}, "b": [1, "é"]})
    assert one.isascii()
