"""The budget in memory: the same gate and answers as the SQL store, for tests and demos."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from datetime import UTC, datetime

from executus.budget import (
    BudgetCall,
    BudgetCap,
    BudgetCheck,
    BudgetCommit,
    BudgetDecision,
    BudgetHold,
    BudgetMeter,
    BudgetOverrun,
    BudgetReceipt,
    BudgetUse,
    Currency,
    Window,
)
from executus.errors import ReservationMismatch
from executus.stores.canonical import ident, micros
from executus.stores.caps import CapChange, raised, use_of
from executus.stores.ledger import (
    CURRENCIES,
    HOUR,
    MAX_AMOUNT,
    WINDOWS,
    ZERO,
    Amounts,
    Cap,
    Room,
    Use,
    call_amounts,
    call_params,
    check_amounts,
    check_params,
    denied,
    denied_missing,
    denied_state,
    denied_unpriced,
    hours_of,
    may_draw,
    milliseconds,
    resolve_caps,
    runtime,
    scope_name,
    scopes_of,
    unit,
    waiting,
    whole,
)
from executus.stores.memory_holds import Attempt, AttemptKey, Hold, public

ADMITTED = BudgetDecision(admitted=True)


class MemoryBudget:
    """A `Budget` that lives as long as this object.

    Without caps it refuses every run, as the SQL store does; `unlimited_by_default=True` says that
    a scope of which nothing was said has no cap.
    """

    def __init__(
        self, *, unlimited_by_default: bool = False, clock: Callable[[], datetime] | None = None
    ) -> None:
        self._unlimited = unlimited_by_default
        self._clock = clock or (lambda: datetime.now(UTC))
        self._caps: list[BudgetCap] = []
        self._holds: dict[str, Hold] = {}
        self._uses: dict[tuple[str, int], Use] = {}
        self._overruns: list[BudgetOverrun] = []

    async def check(self, check: BudgetCheck) -> BudgetDecision:
        """Reserve for the run, all caps or none."""
        run_id, params = ident(check.run_id), check_params(check)
        held = self._holds.get(run_id)
        if held is not None and check.reset:
            return self._check_again(held, check_amounts(check))
        if held is not None:
            if held.params != params:
                raise ReservationMismatch(f"run {run_id} was reserved with other parameters")
            return denied_state(run_id, "is settled already") if held.settled else ADMITTED
        now = micros(self._clock())
        parent = self._open(check.parent_run_id)
        if parent is not None and not may_draw(check, parent.scopes):
            parent = None
        own = scopes_of(check)
        hold = Hold(
            run_id=run_id,
            workflow_run_id=ident(check.workflow_run_id),
            params=params,
            parent=None if parent is None else parent.run_id,
            root=run_id if parent is None else parent.root,
            scopes=own if parent is None else tuple(sorted({*own, *parent.scopes})),
            reserved_at=now,
            hour=now // HOUR if parent is None else parent.hour,
            expires_at=micros(check.expires_at),
            share=ZERO,
        )
        refusal = self._cover(hold, check_amounts(check), now)
        if refusal is None:
            self._holds[run_id] = hold
        return refusal or ADMITTED

    async def authorize(self, call: BudgetCall) -> BudgetDecision:
        """Extend the hold for one more call and record the attempt."""
        hold, seconds = self._holds.get(ident(call.run_id)), call.reset_seconds
        if seconds is None or hold is None or not hold.settled:
            return self._authorize(call)
        before = deepcopy(self._holds), dict(self._uses)
        refusal = self._reopen(hold, Amounts(milliseconds(seconds)))
        decision = refusal or self._authorize(call)
        if not decision.admitted:  # as a transaction is rolled back
            self._holds, self._uses = before
        return decision

    def _authorize(self, call: BudgetCall) -> BudgetDecision:
        run_id, key = ident(call.run_id), _key(call)
        hold = self._holds.get(run_id)
        if hold is None or hold.settled:
            return denied_state(run_id, "has no reservation" if hold is None else "is settled")
        params, estimate = call_params(call), call_amounts(call)
        before = hold.attempts.get(key)
        if before is not None:
            if before.params != params:
                raise ReservationMismatch(f"call {key} was authorised with other parameters")
            return ADMITTED
        caps, _ = self._resolve(hold.scopes)
        priced = [cap for cap in caps if cap.currency == "micro_usd"]
        if call.micro_usd is None and priced:
            return denied_unpriced(priced[0])
        need = hold.need.plus(estimate)
        short = Amounts(0, need.tokens, need.micro_usd).minus(hold.share).floor()
        refusal = self._cover(hold, short, micros(self._clock()))
        if refusal is None:
            hold.attempts[key] = Attempt(params, estimate)
        return refusal or ADMITTED

    async def meter(self, meter: BudgetMeter) -> None:
        """Record what the attempt took; beyond the estimate it is an overrun."""
        hold = self._holds.get(ident(meter.run_id))
        key = _key(meter)
        attempt = None if hold is None else hold.attempts.get(key)
        if hold is None or attempt is None:
            raise ReservationMismatch(f"call {key} was never authorised")
        micro_usd = attempt.estimate.micro_usd if meter.micro_usd is None else meter.micro_usd
        actual = Amounts(0, whole(meter.tokens), whole(micro_usd))
        if attempt.state == "metered":
            if attempt.actual != actual:
                raise ReservationMismatch(f"call {key} was metered with other amounts")
            return
        late, attempt.state, attempt.actual = attempt.state == "lost", "metered", actual
        if late:
            excess = actual.minus(attempt.estimate).floor()
            self._post(hold.scopes, hold.hour, settled=excess)
        else:
            excess = hold.need.minus(hold.share)._replace(ms=0).floor()
            self._post(hold.scopes, hold.hour, reserved=excess)
        hold.share = hold.share.plus(excess)
        self._overrun(hold, f"{'late ' if late else ''}{':'.join(map(str, key[1:]))}", excess)

    async def commit(self, commit: BudgetCommit) -> BudgetReceipt:
        """Settle once: what was metered, and lost attempts at their estimate."""
        hold = self._holds.get(ident(commit.run_id))
        if hold is None:
            return BudgetReceipt()
        if not hold.settled:
            self._settle(hold, commit)
        return BudgetReceipt(
            seconds=hold.share.ms / 1000,
            tokens=hold.share.tokens,
            micro_usd=hold.share.micro_usd,
            lost_attempts=hold.lost,
        )

    async def set_cap(self, change: CapChange) -> BudgetCap:
        """Say what a scope may use; see `SqlBudget.set_cap`."""
        change = change.checked()
        before = [
            row for row in self._caps if (row.scope, row.window, row.currency) == change.place
        ]
        version = change.version(len(before) + 1, self._clock())
        self._caps.append(version)
        return version

    async def raise_cap(
        self, scope: str, window: Window, currency: Currency, more: float, *, by: str = ""
    ) -> BudgetCap:
        """Add to a scope's cap; see `SqlBudget.raise_cap`."""
        change = raised(self._resolve([scope_name(scope)])[0], scope, window, currency, more)
        return await self.set_cap(change._replace(by=by))

    async def caps(self) -> list[BudgetCap]:
        """Every version of every cap, in the order they were set."""
        return list(self._caps)

    async def show(self, scope: str) -> list[BudgetUse]:
        """What a scope used and may use now, for every window and currency."""
        hour = micros(self._clock()) // HOUR
        name = scope_name(scope)
        caps = self._resolve([name])[0]
        return [
            use_of(name, window, currency, caps, uses)
            for window in WINDOWS
            for uses in [self._in(name, window, hour) if window != "run" else []]
            for currency in CURRENCIES
        ]

    async def holds_past(self, at: datetime, *, limit: int = 1_000) -> list[BudgetHold]:
        """Reservations that are not settled and whose time is not after `at`."""
        due = [h for h in self._holds.values() if not h.settled and h.expires_at <= micros(at)]
        return [public(hold) for hold in sorted(due, key=lambda hold: hold.expires_at)[:limit]]

    async def hold(self, run_id: str) -> BudgetHold | None:
        """The run's reservation while it is not settled."""
        hold = self._open(run_id)
        return None if hold is None else public(hold)

    async def overruns(self, run_id: str | None = None) -> list[BudgetOverrun]:
        """Spending beyond its hold."""
        return [o for o in self._overruns if run_id is None or o.run_id == ident(run_id)]

    def _open(self, run_id: str | None) -> Hold | None:
        hold = None if run_id is None else self._holds.get(ident(run_id))
        return None if hold is None or hold.settled else hold

    def _resolve(self, scopes: Iterable[str]) -> tuple[list[Cap], list[str]]:
        return resolve_caps(scopes, self._caps, unlimited=self._unlimited)

    def _cover(self, hold: Hold, short: Amounts, now: int) -> BudgetDecision | None:
        """Bring `short` into the hold: from the parent's slack, the rest through the gate."""
        caps, missing = self._resolve(hold.scopes)
        if missing:
            return denied_missing(missing[0])
        parent = self._open(hold.parent)
        drawn = ZERO if parent is None else short.least(parent.share.minus(parent.need).floor())
        shared = () if parent is None else parent.scopes
        fresh = short.minus(drawn)
        rooms = [
            room
            for cap in caps
            if (asked := (fresh if cap.scope in shared else short).of(cap.currency))
            and (room := self._room(hold, cap, asked, now))
        ]
        if rooms:
            return denied(rooms)
        self._post([scope for scope in hold.scopes if scope in shared], hold.hour, reserved=fresh)
        others = [scope for scope in hold.scopes if scope not in shared]
        self._post(others, hold.hour, reserved=short)
        if parent is not None:
            parent.share = parent.share.minus(drawn)
        hold.share = hold.share.plus(short)
        return None

    def _room(self, hold: Hold, cap: Cap, asked: int, now: int) -> Room | None:
        uses = self._tree(hold, cap) if cap.window == "run" else self._in(*cap[:2], hold.hour)
        settled = sum(use.settled.of(cap.currency) for use in uses)
        reserved = sum(use.reserved.of(cap.currency) for use in uses)
        if settled + reserved + asked <= cap.cap:
            return None
        ends = [
            h.expires_at for h in self._holds.values() if not h.settled and cap.scope in h.scopes
        ]
        ending = min(ends, default=None)
        wait = waiting(cap, asked, uses, now=now, hour=hold.hour, expires_at=ending)
        return Room(cap, settled, reserved, asked, wait)

    def _tree(self, hold: Hold, cap: Cap) -> list[Use]:
        members = [h for h in self._holds.values() if h.root == hold.root]
        if hold.run_id not in self._holds:
            members.append(hold)
        return [
            Use(h.hour, h.share, ZERO) if h.settled else Use(h.hour, ZERO, h.share)
            for h in members
            if cap.scope in h.scopes
        ]

    def _in(self, scope: str, window: Window, hour: int) -> list[Use]:
        first, last = hours_of(window, hour)
        return [
            use for (name, at), use in self._uses.items() if name == scope and first <= at <= last
        ]

    def _post(
        self,
        scopes: Iterable[str],
        hour: int,
        *,
        reserved: Amounts = ZERO,
        settled: Amounts = ZERO,
    ) -> None:
        for scope in scopes:
            use = self._uses.get((scope, hour), Use(hour, ZERO, ZERO))
            self._uses[scope, hour] = Use(
                hour, use.settled.plus(settled), use.reserved.plus(reserved)
            )

    def _check_again(self, hold: Hold, asked: Amounts) -> BudgetDecision:
        before = deepcopy(self._holds), dict(self._uses)
        if hold.settled:
            refusal = self._reopen(hold, asked)
        else:
            refusal = self._cover(hold, asked.minus(hold.share).floor(), micros(self._clock()))
        if refusal is not None:
            self._holds, self._uses = before
        return refusal or ADMITTED

    def _reopen(self, hold: Hold, asked: Amounts) -> BudgetDecision | None:
        """As `SqlBudget` does it: the run was reset."""
        spent, parent = hold.share, self._open(hold.parent)
        self._post(hold.scopes, hold.hour, reserved=spent, settled=ZERO.minus(spent))
        if parent is not None:
            parent.child_ms -= spent.ms
        hold.settled, hold.n_settle, hold.before_ms, hold.child_ms = False, 0, spent.ms, 0
        return self._cover(hold, asked, micros(self._clock()))

    def _settle(self, hold: Hold, commit: BudgetCommit) -> None:
        ms = runtime(commit, hold.child_ms, hold.before_ms)
        for attempt in hold.attempts.values():
            if attempt.state == "started":
                attempt.state = "lost"
                hold.lost += 1
        actual = hold.need._replace(ms=ms)
        parent = self._open(hold.parent)
        rest = ZERO if parent is None else hold.share.minus(actual).floor()
        shared = () if parent is None else parent.scopes
        for scope in hold.scopes:
            kept = rest if scope in shared else ZERO
            self._post([scope], hold.hour, reserved=kept.minus(hold.share), settled=actual)
        if parent is not None:
            parent.share = parent.share.plus(rest)
            parent.child_ms += actual.ms
        cause = "settle" if hold.before_ms is None else f"settle {commit.execution_id}"
        self._overrun(hold, cause, actual.minus(hold.share).floor())
        hold.share, hold.settled, hold.n_settle = actual, True, hold.n_settle + 1

    def _overrun(self, hold: Hold, cause: str, excess: Amounts) -> None:
        at = self._clock()
        self._overruns += [
            BudgetOverrun(
                run_id=hold.run_id,
                cause=cause,
                currency=currency,
                excess=unit(currency, excess.of(currency)),
                at=at,
            )
            for currency in CURRENCIES
            if excess.of(currency)
        ]


def _key(call: BudgetCall | BudgetMeter) -> AttemptKey:
    names = ident(call.run_id), ident(call.execution_id), ident(call.step_id)
    return *names, min(call.attempt, MAX_AMOUNT)
