"""The budget's promises, the same in memory and on both databases."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from executus.budget import BudgetCommit, BudgetReceipt, Currency, Window
from executus.errors import RequestError, ReservationMismatch, StoreError
from executus.stores.caps import CapChange
from executus.stores.database import Database
from executus.stores.ledger import MAX_AMOUNT, hours_of
from executus.stores.memory import MemoryBudget
from executus.stores.sql_budget import SqlBudget
from tests.stores.clocks import NOW, Clock, call, check, meter

AnyBudget = MemoryBudget | SqlBudget
DOLLAR = 1_000_000
CENT = 10_000


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Any]:
    if request.param == "memory":
        yield lambda **options: MemoryBudget(clock=clock, **options)
        return
    postgres = request.param == "postgresql"
    url = f"sqlite:///{tmp_path}/b.db"
    place = request.getfixturevalue("postgres").new_schema() if postgres else url
    database = Database(place, clock=clock)
    await database.migrate()
    yield lambda **options: SqlBudget(database, **options)
    await database.close()


@pytest.fixture
def budget(make: Any) -> AnyBudget:
    """Agents and tenants need no cap; callers do."""
    found: AnyBudget = make()
    return found


@pytest.fixture(autouse=True)
async def _agents_are_free(budget: AnyBudget) -> None:
    for scope in ("agent:*", "tenant:*"):
        await budget.set_cap(CapChange(scope, verdict="unlimited"))


async def cap(budget: AnyBudget, window: Window, currency: Currency, amount: float) -> None:
    await budget.set_cap(CapChange("caller:alice", window, currency, amount))


async def used(
    budget: AnyBudget,
    window: Window = "total",
    currency: Currency = "micro_usd",
    scope: str = "caller:alice",
) -> tuple[float, float]:
    uses = await budget.show(scope)
    [found] = [use for use in uses if (use.window, use.currency) == (window, currency)]
    return found.settled, found.reserved


async def commit(budget: AnyBudget, run_id: str = "run", seconds: float = 0) -> BudgetReceipt:
    return await budget.commit(BudgetCommit(run_id=run_id, seconds=seconds))


async def test_a_run_reserves_spends_and_settles(budget: AnyBudget) -> None:
    await cap(budget, "day", "micro_usd", DOLLAR)
    assert (await budget.check(check(seconds=60, tokens=10, micro_usd=CENT))).admitted
    assert await used(budget) == (0, CENT)
    assert await used(budget, currency="seconds") == (0, 60)
    assert (await budget.authorize(call(tokens=500, micro_usd=5 * CENT))).admitted
    assert await used(budget) == (0, 5 * CENT)
    await budget.meter(meter(tokens=300, micro_usd=2 * CENT))
    assert (await budget.authorize(call(step="m2", tokens=100, micro_usd=2 * CENT))).admitted
    assert await used(budget) == (0, 5 * CENT), "what the first call left is used first"
    await budget.meter(meter(step="m2", tokens=90, micro_usd=CENT))
    receipt = await commit(budget, seconds=7.25)
    assert receipt == BudgetReceipt(seconds=7.25, tokens=390, micro_usd=3 * CENT)
    assert await used(budget) == (3 * CENT, 0)
    assert await used(budget, currency="seconds") == (7.25, 0)
    assert await used(budget, scope="agent:agent") == (3 * CENT, 0)


async def test_a_settlement_happens_once(budget: AnyBudget) -> None:
    await cap(budget, "day", "micro_usd", DOLLAR)
    await budget.check(check(seconds=60))
    receipts = await asyncio.gather(*(commit(budget, seconds=n) for n in (5, 9, 9, 9)))
    assert len({receipt.seconds for receipt in receipts}) == 1
    assert (await used(budget, currency="seconds"))[1] == 0
    assert await commit(budget, seconds=77) == receipts[0]
    assert await budget.hold("run") is None


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), float("-inf"), -1.0])
async def test_nan_seconds_are_refused_and_poison_no_total(
    budget: AnyBudget, seconds: float
) -> None:
    await cap(budget, "day", "micro_usd", DOLLAR)
    await budget.check(check(seconds=60))
    with pytest.raises(ValueError, match="seconds"):
        await commit(budget, seconds=seconds)
    with pytest.raises(ValueError, match="seconds"):
        await budget.check(check("another", seconds=seconds))
    assert await used(budget, currency="seconds") == (0, 60)
    assert (await commit(budget, seconds=7)).seconds == 7


async def test_a_lost_attempt_is_charged_at_its_worst_case(budget: AnyBudget) -> None:
    await cap(budget, "day", "micro_usd", DOLLAR)
    await budget.check(check())
    await budget.authorize(call(attempt=1, tokens=100, micro_usd=CENT))
    await budget.authorize(call(attempt=2, tokens=100, micro_usd=CENT))
    await budget.meter(meter(attempt=2, tokens=40, micro_usd=400))
    receipt = await commit(budget)
    assert (receipt.tokens, receipt.micro_usd, receipt.lost_attempts) == (140, CENT + 400, 1)
    assert await used(budget) == (CENT + 400, 0)


async def test_a_lost_attempt_that_turns_up_late_adds_only_what_was_not_charged(
    budget: AnyBudget,
) -> None:
    await cap(budget, "day", "micro_usd", DOLLAR)
    await budget.check(check())
    for step in ("m1", "m2"):
        await budget.authorize(call(step=step, micro_usd=CENT))
    await commit(budget)
    await budget.meter(meter(step="m1", micro_usd=CENT // 2))
    assert await used(budget) == (2 * CENT, 0)
    for _ in range(2):
        await budget.meter(meter(step="m2", micro_usd=3 * CENT))
    assert await used(budget) == (4 * CENT, 0)
    [overrun] = await budget.overruns("run")
    assert (overrun.excess, overrun.cause) == (2 * CENT, "late :m2:1")


async def test_a_refused_run_leaves_nothing_behind(budget: AnyBudget) -> None:
    await cap(budget, "day", "micro_usd", CENT)
    refused = await budget.check(check(seconds=60, tokens=5, micro_usd=CENT + 1))
    assert not refused.admitted
    assert await used(budget) == (0, 0)
    assert await used(budget, currency="seconds", scope="agent:agent") == (0, 0)
    assert await commit(budget) == BudgetReceipt()
    assert (await budget.check(check(seconds=60, tokens=5, micro_usd=CENT))).admitted


async def test_every_cap_holds_or_none_is_charged(budget: AnyBudget) -> None:
    await cap(budget, "day", "micro_usd", DOLLAR)
    await budget.set_cap(CapChange("tenant:acme", "month", "micro_usd", CENT))
    assert (await budget.check(check("a", micro_usd=CENT, tenant_id="acme"))).admitted
    refused = await budget.check(check("b", micro_usd=1, tenant_id="acme"))
    assert "tenant:acme" in refused.message
    assert "month" in refused.message
    assert await used(budget) == (0, CENT)
    assert await used(budget, scope="tenant:acme") == (0, CENT)


async def test_another_call_is_refused_when_it_does_not_fit(budget: AnyBudget) -> None:
    await cap(budget, "day", "micro_usd", 5 * CENT)
    await budget.check(check())
    assert (await budget.authorize(call(step="m1", micro_usd=3 * CENT))).admitted
    refused = await budget.authorize(call(step="m2", micro_usd=3 * CENT))
    assert refused.message == (
        "caller:alice has no room in its day cap of $0.05: $0.00 used, $0.03 held, $0.03 asked for"
    )
    await budget.meter(meter(step="m1", micro_usd=CENT))
    assert (await budget.authorize(call(step="m2", micro_usd=3 * CENT))).admitted


@pytest.mark.parametrize("window", ["run", "day", "7d", "month", "total"])
@pytest.mark.parametrize("currency", ["seconds", "tokens", "micro_usd"])
async def test_each_window_of_each_currency_is_a_cap(
    budget: AnyBudget, window: Window, currency: Currency
) -> None:
    await cap(budget, window, currency, 10)
    assert (await budget.check(check("fits", **{currency: 10}))).admitted
    other = await budget.check(check("other", **{currency: 1}))
    assert other.admitted is (window == "run")
    assert not (await budget.check(check("more", **{currency: 11}))).admitted


async def test_waiting_is_advised_only_when_it_helps(budget: AnyBudget, clock: Clock) -> None:
    await cap(budget, "day", "micro_usd", CENT)
    never = await budget.check(check("big", micro_usd=CENT + 1))
    assert never.retry_after is None
    await budget.check(check("one", micro_usd=CENT, expires_at=NOW + timedelta(seconds=20)))
    held = await budget.check(check("two", micro_usd=CENT))
    assert held.retry_after == 20
    await budget.authorize(call("one", micro_usd=CENT))
    await commit(budget, "one")
    rolls = await budget.check(check("two", micro_usd=CENT))
    assert rolls.retry_after == (11.5 * 3600)
    clock.advance(seconds=rolls.retry_after)
    assert (await budget.check(check("two", micro_usd=CENT))).admitted


async def test_waiting_for_the_rolling_window_is_exact(budget: AnyBudget, clock: Clock) -> None:
    await cap(budget, "7d", "tokens", 100)
    for name, tokens in (("a", 60), ("b", 40)):
        await budget.check(check(name))
        await budget.authorize(call(name, tokens=tokens))
        await commit(budget, name)
        clock.advance(hours=5)
    refused = await budget.check(check("c", tokens=70))
    assert refused.retry_after is not None
    clock.advance(seconds=refused.retry_after - 1)
    assert not (await budget.check(check("c", tokens=70))).admitted
    clock.advance(seconds=1)
    assert (await budget.check(check("c", tokens=70))).admitted


@pytest.mark.parametrize("window", ["day", "month", "7d"])
async def test_a_run_over_the_end_of_its_window_is_not_told_to_wait_for_the_next_one(
    budget: AnyBudget, clock: Clock, window: Window
) -> None:
    """A new run counts in the window of today: for it there is room at once."""
    clock.now = datetime(2026, 11, 23, 23, 59, tzinfo=UTC)
    await cap(budget, window, "tokens", 100)
    await budget.check(check("spent"))
    await budget.authorize(call("spent", tokens=100))
    await commit(budget, "spent")
    clock.now = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    if window != "7d":
        await budget.check(check("more"))
        await budget.authorize(call("more", tokens=100))
        await commit(budget, "more")
    await budget.check(check())
    clock.now = datetime(2026, 12, 1, 0, 10, tzinfo=UTC)
    refused = await budget.authorize(call(tokens=20))
    assert (refused.admitted, refused.retry_after) == (False, 1)
    assert (await budget.check(check("new", tokens=20))).admitted


async def test_what_the_total_cap_has_spent_never_returns(budget: AnyBudget) -> None:
    await cap(budget, "total", "tokens", 100)
    await budget.check(check("a"))
    await budget.authorize(call("a", tokens=100))
    await commit(budget, "a")
    assert (await budget.check(check("b", tokens=1))).retry_after is None


async def test_a_run_settles_into_the_day_it_was_reserved_in(
    budget: AnyBudget, clock: Clock
) -> None:
    clock.now = datetime(2026, 11, 30, 23, 59, 59, 900_000, tzinfo=UTC)
    await cap(budget, "day", "micro_usd", CENT)
    await cap(budget, "month", "micro_usd", CENT)
    await budget.check(check("late", micro_usd=CENT))
    clock.advance(seconds=0.2)
    assert (await budget.check(check("early", micro_usd=CENT))).admitted, "a new day and month"
    assert not (await budget.authorize(call("late", micro_usd=CENT + 1))).admitted
    assert (await budget.authorize(call("late", micro_usd=CENT))).admitted
    await commit(budget, "late")
    assert await used(budget, "day") == (0, CENT), "only the new day's hold"
    clock.advance(days=-1)
    assert await used(budget, "day") == (CENT, 0)
    assert await used(budget, "month") == (CENT, 0)


async def test_the_rolling_window_never_lets_more_than_its_cap_into_seven_days(
    budget: AnyBudget, clock: Clock
) -> None:
    await cap(budget, "7d", "tokens", 10)
    admitted: list[datetime] = []
    for number in range(60):
        if (await budget.check(check(f"r{number}"))).admitted:
            paid = await budget.authorize(call(f"r{number}", tokens=1))
            admitted += [clock.now] if paid.admitted else []
            await commit(budget, f"r{number}")
        clock.advance(hours=5, minutes=7)
    for at in admitted:
        assert len([t for t in admitted if at <= t < at + timedelta(days=7)]) <= 10
    assert len(admitted) > 10, "room comes back"


def test_windows_are_of_the_calendar_in_utc() -> None:
    hour = round(datetime(2024, 2, 29, 23, 59, tzinfo=UTC).timestamp()) // 3600
    first = [datetime.fromtimestamp(hours_of(w, hour)[0] * 3600, UTC) for w in ("day", "month")]
    last = [datetime.fromtimestamp(hours_of(w, hour)[1] * 3600, UTC) for w in ("day", "month")]
    assert first == [datetime(2024, 2, 29, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)]
    assert last == [datetime(2024, 2, 29, 23, tzinfo=UTC)] * 2
    assert hours_of("7d", hour)[0] == hour - 168


async def test_the_same_run_reserves_once_and_other_parameters_are_an_error(
    budget: AnyBudget,
) -> None:
    await cap(budget, "day", "micro_usd", DOLLAR)
    ask = check(micro_usd=CENT)
    decisions = await asyncio.gather(*(budget.check(ask) for _ in range(8)))
    assert all(decision.admitted for decision in decisions)
    assert await used(budget) == (0, CENT)
    later = ask.model_copy(update={"expires_at": NOW + timedelta(days=1)})
    assert (await budget.check(later)).admitted, "a retry may compute another end"
    for change in ({"micro_usd": 1}, {"caller_id": "bob"}, {"workflow_run_id": "x"}):
        with pytest.raises(ReservationMismatch):
            await budget.check(ask.model_copy(update=change))
    await commit(budget)
    again = await budget.check(ask)
    assert (again.admitted, again.message) == (False, "run run is settled already")


async def test_the_same_call_is_recorded_once_and_other_parameters_are_an_error(
    budget: AnyBudget,
) -> None:
    await cap(budget, "day", "micro_usd", DOLLAR)
    await budget.check(check())
    paid = call(tokens=10, micro_usd=CENT)
    decisions = await asyncio.gather(*(budget.authorize(paid) for _ in range(8)))
    assert all(decision.admitted for decision in decisions)
    assert await used(budget) == (0, CENT)
    with pytest.raises(ReservationMismatch):
        await budget.authorize(paid.model_copy(update={"tokens": 11}))
    await asyncio.gather(*(budget.meter(meter(tokens=5, micro_usd=7)) for _ in range(4)))
    with pytest.raises(ReservationMismatch):
        await budget.meter(meter(tokens=6, micro_usd=7))
    assert (await commit(budget)).micro_usd == 7


async def test_a_reset_pays_for_the_same_step_again(budget: AnyBudget) -> None:
    await cap(budget, "day", "micro_usd", DOLLAR)
    await budget.check(check())
    for execution in ("first", "after-reset"):
        await budget.authorize(call(micro_usd=CENT, execution_id=execution))
        await budget.meter(meter(micro_usd=CENT, execution_id=execution))
    assert (await commit(budget)).micro_usd == 2 * CENT


async def test_a_call_that_was_never_authorised_cannot_be_metered(budget: AnyBudget) -> None:
    with pytest.raises(ReservationMismatch):
        await budget.meter(meter())


async def test_a_run_without_reservation_pays_for_nothing(budget: AnyBudget) -> None:
    refused = await budget.authorize(call())
    assert (refused.admitted, refused.message) == (False, "run run has no reservation")
    await cap(budget, "day", "micro_usd", DOLLAR)
    await budget.check(check())
    await commit(budget)
    assert (await budget.authorize(call())).message == "run run is settled"


async def test_an_overrun_is_counted_at_once_and_explained(budget: AnyBudget) -> None:
    await cap(budget, "day", "micro_usd", CENT)
    await budget.check(check(seconds=5))
    await budget.authorize(call(micro_usd=CENT))
    await budget.meter(meter(micro_usd=3 * CENT))
    assert await used(budget) == (0, 3 * CENT)
    assert not (await budget.check(check("other", micro_usd=1))).admitted
    assert (await budget.check(check("free"))).admitted, "what costs nothing needs no room"
    await commit(budget, seconds=6)
    assert await used(budget) == (3 * CENT, 0)
    causes = {(o.cause, o.currency, o.excess) for o in await budget.overruns("run")}
    assert causes == {(":m1:1", "micro_usd", 2 * CENT), ("settle", "seconds", 1)}


async def test_a_scope_of_which_nothing_was_said_is_refused(budget: AnyBudget, make: Any) -> None:
    refused = await budget.check(check("quiet"))
    assert not refused.admitted
    assert refused.retry_after is None
    assert "executus budget set caller:alice" in refused.message
    assert (await make(unlimited_by_default=True).check(check("open"))).admitted


async def test_unlimited_has_to_be_said_and_can_be_taken_back(budget: AnyBudget) -> None:
    await budget.set_cap(CapChange("caller:*", "run", "tokens", 5))
    await budget.set_cap(CapChange("caller:alice", verdict="unlimited"))
    assert (await budget.check(check("a", tokens=10**9))).admitted
    assert not (await budget.check(check("b", caller_id="bob", tokens=6))).admitted
    await budget.set_cap(CapChange("caller:alice", verdict="removed"))
    assert not (await budget.check(check("c", tokens=6))).admitted
    await budget.set_cap(CapChange("caller:*", "run", "tokens", verdict="removed"))
    assert "has no cap" in (await budget.check(check("d"))).message


async def test_an_own_cap_comes_before_the_cap_of_all(budget: AnyBudget) -> None:
    await budget.set_cap(CapChange("caller:*", "day", "tokens", 5))
    await budget.set_cap(CapChange("caller:*", "day", "micro_usd", 5))
    await cap(budget, "day", "tokens", 50)
    assert (await budget.check(check("a", tokens=50))).admitted
    assert not (await budget.check(check("b", micro_usd=6))).admitted
    assert (await budget.check(check("c", caller_id="bob", tokens=5))).admitted
    assert (await budget.check(check("d", caller_id="carol", tokens=5))).admitted, "each alone"


async def test_an_unknown_price_is_refused_only_where_money_is_capped(budget: AnyBudget) -> None:
    await cap(budget, "day", "tokens", 1_000)
    await budget.check(check())
    assert (await budget.authorize(call(step="m1", micro_usd=None))).admitted
    await cap(budget, "month", "micro_usd", DOLLAR)
    refused = await budget.authorize(call(step="m2", tokens=900, micro_usd=None))
    assert "price is not known" in refused.message
    assert await used(budget, currency="tokens") == (0, 0)
    await budget.authorize(call(step="m3", micro_usd=CENT))
    await budget.meter(meter(step="m3", micro_usd=None))
    assert (await commit(budget)).micro_usd == CENT, "without a price the worst case is charged"


async def test_a_new_cap_counts_what_was_used_before(budget: AnyBudget) -> None:
    await cap(budget, "total", "seconds", 1_000)
    await budget.check(check("a"))
    await budget.authorize(call("a", tokens=80))
    await commit(budget, "a")
    await cap(budget, "day", "tokens", 100)
    assert not (await budget.check(check("b", tokens=21))).admitted
    assert (await budget.check(check("c", tokens=20))).admitted


async def test_caps_are_versions_and_raising_adds_to_the_newest(budget: AnyBudget) -> None:
    await cap(budget, "day", "seconds", 1.5)
    raised = await budget.raise_cap("caller:alice", "day", "seconds", 0.25, by="bob")
    assert (raised.version, raised.cap, raised.set_by) == (2, 1.75, "bob")
    versions = [v for v in await budget.caps() if v.scope == "caller:alice"]
    assert [v.cap for v in versions] == [1.5, 1.75]
    with pytest.raises(RequestError, match="no month cap"):
        await budget.raise_cap("caller:alice", "month", "seconds", 1)
    with pytest.raises(RequestError, match="no day cap"):
        await budget.raise_cap("caller:nobody", "day", "seconds", 1)


async def test_of_raises_at_the_same_moment_none_is_lost(budget: AnyBudget) -> None:
    await cap(budget, "day", "tokens", 100)
    raises = (budget.raise_cap("caller:alice", "day", "tokens", 10) for _ in range(12))
    await asyncio.gather(*raises)
    assert [v for v in await budget.caps() if v.scope == "caller:alice"][-1].cap == 220


async def test_a_cap_is_what_was_asked_for_or_refused(budget: AnyBudget) -> None:
    """Never silently another number."""
    await cap(budget, "day", "tokens", MAX_AMOUNT)
    await cap(budget, "day", "seconds", MAX_AMOUNT / 1000)
    with pytest.raises(RequestError, match="10,000,000,000,000 tokens at most"):
        await cap(budget, "day", "tokens", MAX_AMOUNT + 1)
    with pytest.raises(RequestError, match="10,000,000,000 s at most"):
        await cap(budget, "day", "seconds", MAX_AMOUNT)
    with pytest.raises(RequestError, match="tokens at most"):
        await budget.raise_cap("caller:alice", "day", "tokens", 1)
    await cap(budget, "day", "micro_usd", 0)
    with pytest.raises(RequestError, match=r"\$10,000,000\.00 at most"):
        await budget.raise_cap("caller:alice", "day", "micro_usd", 1e30)


async def test_amounts_are_told_in_full(budget: AnyBudget) -> None:
    await cap(budget, "month", "seconds", 2_592_000.5)
    refused = await budget.check(check(seconds=12_345_678.125))
    assert "cap of 2,592,000.5 s: 0 s used, 0 s held, 12,345,678.125 s asked" in refused.message


async def test_the_cap_of_each_run_is_shown(budget: AnyBudget) -> None:
    await cap(budget, "run", "micro_usd", DOLLAR)
    [shown] = [use for use in await budget.show("caller:alice") if use.cap is not None]
    assert (shown.window, shown.cap, shown.settled) == ("run", DOLLAR, 0)


async def test_caps_set_at_the_same_moment_are_all_kept(budget: AnyBudget) -> None:
    await asyncio.gather(*(cap(budget, "day", "tokens", n) for n in range(12)))
    versions = [v.version for v in await budget.caps() if v.scope == "caller:alice"]
    assert sorted(versions) == list(range(1, 13))


@pytest.mark.parametrize(
    "change",
    [
        CapChange("alice", "day", "tokens", 1),
        CapChange("user:alice", "day", "tokens", 1),
        CapChange("caller:", "day", "tokens", 1),
        CapChange("caller:a", "day", "tokens"),
        CapChange("caller:a", "day", cap=1),
        CapChange("caller:a", cap=1),
        CapChange("caller:a", "day", "tokens", -1),
        CapChange("caller:a", "day", "tokens", float("nan")),
        CapChange("caller:a", "day", "tokens", float("inf")),
        CapChange("caller:a", "day", "tokens", 1, verdict="unlimited"),
    ],
)
async def test_a_cap_that_says_nothing_definite_is_refused(
    budget: AnyBudget, change: CapChange
) -> None:
    with pytest.raises(RequestError):
        await budget.set_cap(change)


async def test_children_draw_from_their_parents_hold(budget: AnyBudget) -> None:
    await cap(budget, "day", "tokens", 100)
    await budget.check(check("parent", seconds=60, tokens=100))
    assert not (await budget.check(check("stranger", tokens=1))).admitted
    child = check("child", parent_run_id="parent", agent_id="helper", seconds=30, tokens=80)
    assert (await budget.check(child)).admitted
    assert await used(budget, currency="tokens") == (0, 100)
    assert await used(budget, currency="tokens", scope="agent:helper") == (0, 80)
    assert not (await budget.authorize(call("parent", tokens=21))).admitted
    await budget.authorize(call("child", tokens=50))
    await commit(budget, "child", seconds=10)
    assert await used(budget, currency="tokens") == (50, 50), "what is left goes back"
    assert await used(budget, currency="tokens", scope="agent:helper") == (50, 0)
    assert (await budget.authorize(call("parent", tokens=50))).admitted
    await commit(budget, "parent", seconds=40)
    assert await used(budget, currency="tokens") == (100, 0)
    assert await used(budget, currency="seconds") == (40, 0), "waiting is not paid twice"
    assert await budget.overruns() == []


async def test_a_child_that_needs_more_passes_the_gate_for_the_rest(budget: AnyBudget) -> None:
    await cap(budget, "day", "tokens", 100)
    await budget.check(check("parent", tokens=40))
    for number in (1, 2):
        ask = check(f"child{number}", parent_run_id="parent", tokens=30)
        assert (await budget.check(ask)).admitted
    assert await used(budget, currency="tokens") == (0, 60)
    assert not (await budget.authorize(call("child1", tokens=71))).admitted
    assert (await budget.authorize(call("child1", tokens=70))).admitted
    assert await used(budget, currency="tokens") == (0, 100)


async def test_the_run_window_bounds_a_run_together_with_its_children(budget: AnyBudget) -> None:
    await cap(budget, "run", "tokens", 100)
    await budget.check(check("parent"))
    await budget.authorize(call("parent", tokens=60))
    await budget.check(check("child", parent_run_id="parent"))
    assert not (await budget.authorize(call("child", tokens=41))).admitted
    assert (await budget.authorize(call("child", tokens=40))).admitted
    await commit(budget, "child")
    assert not (await budget.authorize(call("parent", step="m2", tokens=1))).admitted
    assert (await budget.check(check("other", tokens=100))).admitted


async def test_a_child_that_outlives_its_parent_settles_for_itself(budget: AnyBudget) -> None:
    await cap(budget, "day", "tokens", 100)
    await budget.check(check("parent", tokens=50))
    await budget.check(check("child", parent_run_id="parent", tokens=30))
    await commit(budget, "parent")
    assert await used(budget, currency="tokens") == (0, 30)
    await budget.authorize(call("child", tokens=20))
    await commit(budget, "child")
    assert await used(budget, currency="tokens") == (20, 0)
    await budget.check(check("orphan", parent_run_id="parent", tokens=80))
    assert await used(budget, currency="tokens") == (20, 80), "its parent holds nothing any more"


async def test_a_child_counts_in_the_window_of_its_parent(budget: AnyBudget, clock: Clock) -> None:
    clock.now = datetime(2026, 11, 23, 23, 59, 59, 900_000, tzinfo=UTC)
    await cap(budget, "day", "tokens", 100)
    await budget.check(check("parent", tokens=50))
    clock.advance(seconds=0.2)
    await budget.check(check("child", parent_run_id="parent", tokens=30))
    await budget.authorize(call("child", tokens=20))
    await commit(budget, "child")
    await commit(budget, "parent")
    assert await used(budget, "day", "tokens") == (0, 0)
    clock.advance(days=-1)
    assert await used(budget, "day", "tokens") == (20, 0)


async def test_holds_past_their_time_are_found_until_they_are_settled(budget: AnyBudget) -> None:
    await cap(budget, "day", "tokens", 100)
    await budget.check(check("a", tokens=3, seconds=1.5, expires_at=NOW + timedelta(seconds=5)))
    await budget.check(check("b", expires_at=NOW + timedelta(seconds=50)))
    [hold] = await budget.holds_past(NOW + timedelta(seconds=5))
    assert (hold.run_id, hold.workflow_run_id, hold.tokens) == ("a", "a-first", 3)
    assert (hold.seconds, hold.reserved_at) == (1.5, NOW)
    await commit(budget, "a")
    assert await budget.holds_past(NOW + timedelta(seconds=5)) == []


@pytest.mark.parametrize("callers", [64])
async def test_of_two_hundred_claims_exactly_what_the_cap_holds_is_admitted(
    budget: AnyBudget, callers: int
) -> None:
    await cap(budget, "day", "micro_usd", 5 * DOLLAR)
    claims = iter(range(200))
    admitted = 0

    async def caller() -> None:
        nonlocal admitted
        for claim in claims:
            decision = await budget.check(check(f"run{claim}", micro_usd=10 * CENT))
            admitted += decision.admitted

    await asyncio.gather(*(caller() for _ in range(callers)))
    assert admitted == 50
    assert await used(budget) == (0, 5 * DOLLAR)


async def test_concurrent_runs_of_overlapping_scopes_never_lock_each_other_out(
    budget: AnyBudget,
) -> None:
    await budget.set_cap(CapChange("caller:*", "7d", "tokens", 10**6))

    async def run(number: int) -> None:
        names = {"caller_id": f"c{number % 3}", "agent_id": f"a{number % 2}", "tenant_id": "t"}
        run_id = f"run{number}"
        await budget.check(check(run_id, tokens=5, **names))
        await budget.authorize(call(run_id, tokens=50))
        await budget.meter(meter(run_id, tokens=40))
        await commit(budget, run_id)

    await asyncio.gather(*(run(number) for number in range(40)))
    assert await used(budget, currency="tokens", scope="tenant:t") == (1_600, 0)


async def test_a_store_that_is_down_admits_nothing(tmp_path: Path) -> None:
    database = Database("postgresql://127.0.0.1:1/d")
    budget = SqlBudget(database, unlimited_by_default=True)
    for ask in (budget.check(check()), budget.authorize(call()), commit(budget)):
        with pytest.raises(StoreError):
            await ask
    await database.close()


async def test_nobody_draws_from_the_hold_of_another_callers_run(budget: AnyBudget) -> None:
    await cap(budget, "day", "tokens", 50)
    await budget.check(check("parent", tokens=50))
    await budget.set_cap(CapChange("caller:mallory", verdict="unlimited"))
    stranger = check("stranger", parent_run_id="parent", caller_id="mallory", tokens=30)
    assert (await budget.check(stranger)).admitted
    assert await used(budget, currency="tokens") == (0, 50), "drawn from a stranger's hold"
    await budget.commit(BudgetCommit(run_id="parent", seconds=0))
    assert await used(budget, currency="tokens") == (0, 0)
