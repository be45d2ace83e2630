"""The budget's arithmetic, free of any store: amounts, windows, caps, and what a denial says.

Integers only: milliseconds, tokens, micro-USD. Floats drift, and one NaN poisons a sum for ever
(seed.md section 12).
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple, get_args

from executus.budget import (
    BudgetCall,
    BudgetCap,
    BudgetCheck,
    BudgetCommit,
    BudgetDecision,
    Currency,
    Window,
)
from executus.digest import digest
from executus.errors import RequestError
from executus.stores.canonical import canonical, ident, moment

CURRENCIES: tuple[Currency, ...] = get_args(Currency)
WINDOWS: tuple[Window, ...] = get_args(Window)
KINDS = ("caller", "tenant", "agent")
MAX_AMOUNT = 10**13
"""Largest amount: 10 million dollars, 317 years. A million such sums still fit 64 bits."""
HOUR = 3_600_000_000
"""Microseconds."""
WEEK_HOURS = 168
LEAST_WAIT = 1.0
"""Seconds: sooner than this no one need ask again."""
HELD_WAIT = 60.0
"""Seconds: a denied caller need not wait longer than this to ask whether a hold came back."""


class Amounts(NamedTuple):
    """One number for each currency."""

    ms: int = 0
    tokens: int = 0
    micro_usd: int = 0

    def plus(self, other: "Amounts") -> "Amounts":
        """The sum."""
        return Amounts(
            self.ms + other.ms, self.tokens + other.tokens, self.micro_usd + other.micro_usd
        )

    def minus(self, other: "Amounts") -> "Amounts":
        """The difference; may be negative."""
        return Amounts(
            self.ms - other.ms, self.tokens - other.tokens, self.micro_usd - other.micro_usd
        )

    def least(self, other: "Amounts") -> "Amounts":
        """The smaller of each."""
        return Amounts(*map(min, self, other))

    def floor(self) -> "Amounts":
        """Nothing below zero."""
        return self.minus(self.least(ZERO))

    def of(self, currency: Currency) -> int:
        """The number for one currency."""
        return self[CURRENCIES.index(currency)]


ZERO = Amounts()


def whole(amount: float) -> int:
    """A non-negative amount rounded up, within the largest one."""
    if not 0 <= amount < math.inf:  # NaN compares false, and so does not pass
        raise RequestError("an amount is a finite number, not below 0")
    return math.ceil(min(MAX_AMOUNT, amount))


def milliseconds(seconds: float) -> int:
    """Seconds in the ledger's unit, rounded up."""
    return whole(round(min(seconds, MAX_AMOUNT) * 1000, 3))


def unit(currency: Currency, stored: int) -> float:
    """A stored amount in the unit people use: seconds, tokens, micro-USD."""
    return stored / 1000 if currency == "seconds" else stored


def stored(currency: Currency, amount: float) -> int:
    """The reverse of `unit`, rounded up."""
    return milliseconds(amount) if currency == "seconds" else whole(amount)


def check_amounts(check: BudgetCheck) -> Amounts:
    """What a check asks for."""
    return Amounts(milliseconds(check.seconds), whole(check.tokens), whole(check.micro_usd))


def call_amounts(call: BudgetCall) -> Amounts:
    """Worst case of a call; nothing for a price that is not known."""
    return Amounts(0, whole(call.tokens), whole(call.micro_usd or 0))


def runtime(commit: BudgetCommit, child_ms: int, before_ms: int | None) -> int:
    """Milliseconds that a run is charged: less those its children pay, and all its executions'."""
    own = commit.seconds
    if before_ms is not None and commit.since_reset is not None:
        own = commit.since_reset
    return (before_ms or 0) + max(0, milliseconds(own) - child_ms)


def check_params(check: BudgetCheck) -> str:
    """What has to be the same when a run's id is used again."""
    return _digest(check.model_dump(mode="json", exclude={"expires_at", "reset"}))


def call_params(call: BudgetCall) -> str:
    """What has to be the same when a call's key is used again."""
    return _digest(call.model_dump(mode="json", exclude={"reset_seconds"}))


def _digest(value: object) -> str:
    return digest(canonical(value).encode("ascii"))


def scopes_of(check: BudgetCheck) -> tuple[str, ...]:
    """The scopes a run is counted in, sorted: every transaction locks them in this order."""
    pairs = (("agent", check.agent_id), ("caller", check.caller_id), ("tenant", check.tenant_id))
    return tuple(f"{kind}:{ident(name)}" for kind, name in pairs if name)


def may_draw(check: BudgetCheck, scopes: Collection[str]) -> bool:
    """Whether a run may draw from a hold counted in `scopes`: only the same caller's.

    `parent_run_id` comes with the request, so a caller could name somebody else's run.
    """
    return f"caller:{ident(check.caller_id)}" in scopes


def scope_name(scope: str) -> str:
    """A scope as a person writes it, checked: `caller:alice`, `agent:*`."""
    kind, colon, name = scope.partition(":")
    if kind not in KINDS or not colon or not name:
        known = ", ".join(f"{kind}:<id>" for kind in KINDS)
        each = ", ".join(f"{kind}:*" for kind in KINDS)
        raise RequestError(
            f"`{scope[:80]}` is not a budget scope; scopes are {known}, and {each} for each one "
            "that has no cap of its own"
        )
    return f"{kind}:{ident(name)}"


def wildcard(scope: str) -> str:
    """The scope whose caps hold for each of its kind that has none of its own."""
    return f"{scope.partition(':')[0]}:*"


def hours_of(window: Window, hour: int) -> tuple[int, int]:
    """First and last hour (since 1970) that count in the window of a reserve made in `hour`.

    The rolling window has no end: what is used after the reserve counts too, so that a long run
    cannot extend into room that others have taken since.
    """
    at = moment(hour * HOUR)
    if window == "day":
        first = hour - at.hour
        return first, first + 23
    if window == "month":
        start = at.replace(day=1, hour=0)
        end = (start + timedelta(days=31)).replace(day=1)
        return _hour(start.timestamp()), _hour(end.timestamp()) - 1
    if window == "7d":
        return hour - WEEK_HOURS, _FOREVER
    return 0, _FOREVER


_FOREVER = 2**40


def _hour(seconds: float) -> int:
    return round(seconds) // 3600


class Cap(NamedTuple):
    """A cap that holds for one scope."""

    scope: str
    window: Window
    currency: Currency
    cap: int


def resolve_caps(
    scopes: Iterable[str], rows: Iterable[BudgetCap], *, unlimited: bool
) -> tuple[list[Cap], list[str]]:
    """The caps that hold for `scopes`, and the scopes of which nothing was ever said.

    A scope's own row comes before its kind's `*` row, window by window and currency by currency; an
    own `unlimited` puts all `*` rows aside.
    """
    newest: dict[str, dict[tuple[str, str], BudgetCap]] = {}
    for row in sorted(rows, key=lambda row: row.version):
        newest.setdefault(row.scope, {})[row.window, row.currency] = row
    caps: list[Cap] = []
    missing: list[str] = []
    for scope in scopes:
        own = _said(newest.get(scope, {}))
        general = _said(newest.get(wildcard(scope), {}))
        if not own and not general and not unlimited:
            missing.append(scope)
        holding = own if ("any", "any") in own else general | own
        caps += [_cap(scope, row) for row in holding.values() if row.verdict == "cap"]
    return sorted(caps), missing


def _said(rows: Mapping[tuple[str, str], BudgetCap]) -> dict[tuple[str, str], BudgetCap]:
    return {key: row for key, row in rows.items() if row.verdict != "removed"}


def _cap(scope: str, row: BudgetCap) -> Cap:
    if row.window == "any" or row.currency == "any" or row.cap is None:
        raise RequestError(f"a cap on {scope} names no window, currency or amount")
    return Cap(scope, row.window, row.currency, stored(row.currency, row.cap))


class Use(NamedTuple):
    """What a scope used in one hour."""

    hour: int
    settled: Amounts
    reserved: Amounts


class Room(NamedTuple):
    """A cap that left no room, and why."""

    cap: Cap
    settled: int
    reserved: int
    asked: int
    wait: float | None
    """Seconds after which there may be room."""


def waiting(
    cap: Cap,
    asked: int,
    uses: Sequence[Use],
    *,
    now: int,
    hour: int,
    expires_at: int | None,
) -> float | None:
    """Seconds after which `asked` may fit under `cap`; None when waiting does not help.

    `uses` are the hours in the window of a reserve made in `hour`, `expires_at` is the first end of
    a hold in it. A run that goes on over the end of its window is refused in the old one, and its
    caller finds room in the new one with the next run.
    """
    if asked > cap.cap or cap.window == "run":
        return None
    options: list[float] = []
    if cap.window in {"day", "month"}:
        end = (hours_of(cap.window, hour)[1] + 1) * HOUR
        options.append((end - now) / 1e6)
    used = sum(use.settled.of(cap.currency) + use.reserved.of(cap.currency) for use in uses)
    settled = sum(use.settled.of(cap.currency) for use in uses)
    if settled + asked <= cap.cap and used > settled:
        until = HELD_WAIT if expires_at is None else (expires_at - now) / 1e6
        options.append(min(HELD_WAIT, until))
    if cap.window == "7d":
        for use in sorted(uses):
            used -= use.settled.of(cap.currency) + use.reserved.of(cap.currency)
            if used + asked <= cap.cap:
                options.append(((use.hour + 1 + WEEK_HOURS) * HOUR - now) / 1e6)
                break
    return max(LEAST_WAIT, min(options)) if options else None


def denied(rooms: Sequence[Room]) -> BudgetDecision:
    """The refusal for the cap that is hardest to wait for."""
    worst = max(rooms, key=lambda room: math.inf if room.wait is None else room.wait)
    cap = worst.cap
    used, held, asked, limit = (
        money(cap.currency, amount)
        for amount in (worst.settled, worst.reserved, worst.asked, cap.cap)
    )
    message = (
        f"{cap.scope} has no room in its {cap.window} cap of {limit}: "
        f"{used} used, {held} held, {asked} asked for"
    )
    return BudgetDecision(admitted=False, message=message, retry_after=worst.wait)


def denied_missing(scope: str) -> BudgetDecision:
    """The refusal when nobody said what a scope may use."""
    message = (
        f"{scope} has no cap; set one (executus budget set {scope} --window day --usd 5) "
        f"or say that it needs none (executus budget set {wildcard(scope)} --unlimited)"
    )
    return BudgetDecision(admitted=False, message=message)


def denied_unpriced(cap: Cap) -> BudgetDecision:
    """The refusal when money is capped and the price is not known."""
    limit = money(cap.currency, cap.cap)
    message = (
        f"the model's price is not known, and {cap.scope} has a {cap.window} cap of {limit}: "
        "give the model a price"
    )
    return BudgetDecision(admitted=False, message=message)


def denied_state(run_id: str, what: str) -> BudgetDecision:
    """The refusal for a run that cannot spend (any more)."""
    return BudgetDecision(admitted=False, message=f"run {run_id} {what}")


def money(currency: Currency, amount: int) -> str:
    """A stored amount for people."""
    if currency == "seconds":
        whole_seconds, ms = divmod(amount, 1000)
        return f"{whole_seconds:,}" + f".{ms:03}".rstrip("0").rstrip(".") + " s"
    if currency == "tokens":
        return f"{amount:,} tokens"
    text = f"{amount / 1_000_000:,.6f}"
    while text.endswith("0") and not text.endswith(".00") and text[-3] != ".":
        text = text[:-1]
    return f"${text}"
