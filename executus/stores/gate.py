"""The gate: caps, and the conditional updates that no concurrent caller passes together.

Counters stand in two tables, one row a scope (since ever) and one row a scope and hour (of the
reserve). Whoever changes a scope's numbers locks its row first, in sorted order, so that the sums
in the conditional updates are those of one moment (reliability.md D.2).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    func,
    select,
    update,
)

from executus.budget import BudgetCap, BudgetDecision, Currency, Window
from executus.stores.canonical import moment
from executus.stores.database import Database
from executus.stores.dialects import insert
from executus.stores.ledger import (
    ZERO,
    Amounts,
    Cap,
    Room,
    Use,
    denied,
    denied_missing,
    hours_of,
    resolve_caps,
    unit,
    waiting,
    wildcard,
)
from executus.stores.prepared import Prepared, unless_there
from executus.stores.schema import budget_caps as caps
from executus.stores.schema import budget_hours as hours
from executus.stores.schema import budget_runs as runs
from executus.stores.schema import budget_scopes as scopes

Shape = tuple[tuple[Window, Currency], ...]
SUFFIXES = ("ms", "tokens", "micro_usd")
COUNTERS = tuple(f"{kind}_{suffix}" for kind in ("reserved", "settled") for suffix in SUFFIXES)

# Statements stand here once: building one costs more than running it.
TREE = Prepared(select(runs).where(runs.c.root_run_id == bindparam("root")))
HOUR = and_(hours.c.scope == bindparam("at_scope"), hours.c.hour == bindparam("at_hour"))
GROW_HOUR = Prepared(
    update(hours).where(HOUR).values({c: hours.c[c] + bindparam(c) for c in COUNTERS})
)
GROW_SCOPE = {c: scopes.c[c] + bindparam(c) for c in COUNTERS}
NEW_SCOPE = unless_there(scopes)


@cache
def _caps_of(count: int) -> Prepared:
    return Prepared(select(caps).where(caps.c.scope.in_(_names(count))))


@cache
def _lock_of(count: int) -> Prepared:
    here = scopes.c.scope.in_(_names(count))
    query = select(scopes.c.scope).where(here).order_by(scopes.c.scope)
    return Prepared(query.with_for_update())


def _names(count: int) -> list[BindParameter[str]]:
    return [bindparam(f"name{index}") for index in range(count)]


def _named(names: Sequence[str]) -> dict[str, object]:
    return {f"name{index}": name for index, name in enumerate(names)}


class Hold(NamedTuple):
    """A row of `budget_runs`."""

    run_id: str
    workflow_run_id: str
    params: str
    parent_run_id: str | None
    root_run_id: str
    scopes: tuple[str, ...]
    reserved_at: int
    hour: int
    expires_at: int
    share: Amounts
    need: Amounts = ZERO
    settled_at: int | None = None
    n_settle: int = 0
    child_ms: int = 0
    lost: int = 0
    before_ms: int | None = None

    @property
    def slack(self) -> Amounts:
        """What a child may draw."""
        return self.share.minus(self.need).floor()


class Denied(Exception):
    """The gate said no to `asked` (by scope) for `hold`."""

    def __init__(self, hold: Hold, asked: Mapping[str, Amounts]) -> None:
        super().__init__()
        self.hold = hold
        self.asked = asked


class Refused(Exception):
    """No, whatever is used: nobody said what a scope may use, or a price is not known."""

    def __init__(self, decision: BudgetDecision) -> None:
        super().__init__(decision.message)
        self.decision = decision


class Gate:
    """Checks and counts, always inside a transaction of its caller."""

    def __init__(self, database: Database, *, unlimited: bool) -> None:
        self._dialect = database.dialect
        self._unlimited = unlimited
        self._takings: dict[Shape, Prepared] = {}
        values: dict[str, Any] = {c: bindparam(c) for c in COUNTERS}
        values |= {"scope": bindparam("at_scope"), "hour": bindparam("at_hour")}
        added = insert(database.dialect, hours).values(values)
        self._add_hours = Prepared(
            added.on_conflict_do_update(
                index_elements=[hours.c.scope, hours.c.hour],
                set_={c: hours.c[c] + added.excluded[c] for c in COUNTERS},
            )
        )

    def used(self, settled: Any, reserved: Any) -> Any:  # noqa: ANN401 - numbers or SQL columns
        """What counts against a cap: also what others hold and have not spent yet."""
        return settled + reserved

    def caps(self, connection: Connection, names: Sequence[str]) -> list[Cap]:
        """The caps that hold for scopes; raises Refused when nothing was said about one."""
        wanted = sorted({*names, *map(wildcard, names)})
        rows = tuple(_caps_of(len(wanted)).all(connection, _named(wanted)))
        holding, missing = _resolved(tuple(names), rows, unlimited=self._unlimited)
        if missing:
            raise Refused(denied_missing(missing[0]))
        return list(holding)

    def take(self, connection: Connection, hold: Hold, asked: Mapping[str, Amounts]) -> None:
        """Reserve `asked` (by scope) under all caps, or raise Denied."""
        holding = self.caps(connection, hold.scopes)
        self._lock(connection, hold)
        tree = self._tree(connection, hold, holding)
        for scope in hold.scopes:
            mine = [c for c in holding if c.scope == scope and asked[scope].of(c.currency)]
            if not self._fits_run(mine, tree, asked[scope]):
                raise Denied(hold, asked)
            shape: Shape = tuple((cap.window, cap.currency) for cap in mine if cap.window != "run")
            values = _counters(asked[scope], ZERO) | {"at_scope": scope}
            for index, cap in enumerate(cap for cap in mine if cap.window != "run"):
                first, last = hours_of(cap.window, hold.hour)
                values |= {f"first{index}": first, f"last{index}": last}
                values[f"room{index}"] = cap.cap - asked[scope].of(cap.currency)
            if self._taking(shape).run(connection, values) != 1:
                raise Denied(hold, asked)
        rows = [_at(hold, scope) | _counters(asked[scope], ZERO) for scope in hold.scopes]
        self._add_hours.run_each(connection, rows)

    def post(
        self,
        connection: Connection,
        hold: Hold,
        changes: Mapping[str, tuple[Amounts, Amounts]],
    ) -> None:
        """Change reserved and settled of scopes without asking: the money is gone already."""
        self._lock(connection, hold)
        rows = [_at(hold, scope) | _counters(*changes[scope]) for scope in hold.scopes]
        self._taking(()).run_each(connection, rows)
        GROW_HOUR.run_each(connection, rows)

    def explain(self, connection: Connection, refusal: Denied, now: int) -> BudgetDecision | None:
        """The refusal in words; None when there is room by now."""
        hold = refusal.hold
        holding = self.caps(connection, hold.scopes)
        tree = self._tree(connection, hold, holding)
        rooms: list[Room] = []
        for cap in holding:
            asked = refusal.asked[cap.scope].of(cap.currency)
            uses = (
                [use for names, use in tree if cap.scope in names]
                if cap.window == "run"
                else self.uses(connection, cap.scope, cap.window, hold.hour)
            )
            settled = sum(use.settled.of(cap.currency) for use in uses)
            reserved = sum(use.reserved.of(cap.currency) for use in uses)
            if asked and self.used(settled, reserved) + asked > cap.cap:
                ends = _first_end(connection, cap.scope)
                wait = waiting(cap, asked, uses, now=now, hour=hold.hour, expires_at=ends)
                rooms.append(Room(cap, settled, reserved, asked, wait))
        return denied(rooms) if rooms else None

    def uses(self, connection: Connection, scope: str, window: Window, hour: int) -> list[Use]:
        """What a scope used, hour by hour, in the window of a reserve made in `hour`."""
        first, last = hours_of(window, hour)
        query = select(hours).where(hours.c.scope == scope, hours.c.hour.between(first, last))
        if window == "total":
            query = select(scopes).where(scopes.c.scope == scope)
        return [
            Use(getattr(row, "hour", 0), _amounts(row, "settled"), _amounts(row, "reserved"))
            for row in connection.execute(query)
        ]

    def _taking(self, shape: Shape) -> Prepared:
        """The conditional update of a scope that has caps of this shape."""
        if shape not in self._takings:
            conditions = [self._fits(index, *cap) for index, cap in enumerate(shape)]
            here = scopes.c.scope == bindparam("at_scope")
            query = update(scopes).where(here, *conditions).values(GROW_SCOPE)
            self._takings[shape] = Prepared(query)
        return self._takings[shape]

    def _fits(self, index: int, window: Window, currency: Currency) -> ColumnElement[bool]:
        """What is used leaves room: `settled + reserved <= cap - asked`."""
        suffix = "ms" if currency == "seconds" else currency
        table = scopes if window == "total" else hours
        used = self.used(table.c[f"settled_{suffix}"], table.c[f"reserved_{suffix}"])
        if window != "total":
            inside = hours.c.hour.between(bindparam(f"first{index}"), bindparam(f"last{index}"))
            here = and_(hours.c.scope == bindparam("at_scope"), inside)
            used = select(func.coalesce(func.sum(used), 0)).where(here).scalar_subquery()
        fits: ColumnElement[bool] = used <= bindparam(f"room{index}")
        return fits

    def _fits_run(
        self, mine: Sequence[Cap], tree: Sequence[tuple[frozenset[str], Use]], asked: Amounts
    ) -> bool:
        for cap in mine:
            amount = asked.of(cap.currency)
            if cap.window == "run":
                uses = [use for names, use in tree if cap.scope in names]
                settled = sum(use.settled.of(cap.currency) for use in uses)
                reserved = sum(use.reserved.of(cap.currency) for use in uses)
                if self.used(settled, reserved) + amount > cap.cap:
                    return False
        return True

    def _lock(self, connection: Connection, hold: Hold) -> None:
        """Lock the scopes' rows in sorted order, and make those of scope and hour."""
        lock, names = _lock_of(len(hold.scopes)), _named(hold.scopes)
        there = {row.scope for row in lock.all(connection, names)}
        if len(there) < len(hold.scopes):
            for name in hold.scopes:
                if name not in there:
                    NEW_SCOPE.all(connection, {"scope": name, **_counters(ZERO, ZERO)})
            lock.all(connection, names)

    def _tree(
        self, connection: Connection, hold: Hold, holding: Iterable[Cap]
    ) -> list[tuple[frozenset[str], Use]]:
        if not any(cap.window == "run" for cap in holding):
            return []
        found = TREE.all(connection, {"root": hold.root_run_id})
        return [
            (
                frozenset(member.scopes),
                Use(member.hour, ZERO, member.share)
                if member.settled_at is None
                else Use(member.hour, member.share, ZERO),
            )
            for member in map(hold_of, found)
        ]


def hold_of(row: Row[Any]) -> Hold:
    """A row of `budget_runs` as a Hold."""
    return Hold(
        run_id=row.run_id,
        workflow_run_id=row.workflow_run_id,
        params=row.params,
        parent_run_id=row.parent_run_id,
        root_run_id=row.root_run_id,
        scopes=tuple(json.loads(row.scopes)),
        reserved_at=row.reserved_at,
        hour=row.hour,
        expires_at=row.expires_at,
        share=Amounts(row.share_ms, row.share_tokens, row.share_micro_usd),
        need=Amounts(0, row.need_tokens, row.need_micro_usd),
        settled_at=row.settled_at,
        n_settle=row.n_settle,
        child_ms=row.child_ms,
        lost=row.lost,
        before_ms=row.before_ms,
    )


def row_of(hold: Hold) -> dict[str, object]:
    """A Hold as a row of `budget_runs`."""
    row: dict[str, object] = hold._asdict()
    del row["share"], row["need"]
    row["scopes"] = json.dumps(hold.scopes)
    row["share_ms"], row["share_tokens"], row["share_micro_usd"] = hold.share
    row["need_tokens"], row["need_micro_usd"] = hold.need[1:]
    return row


def with_share(hold: Hold, change: Amounts) -> Hold:
    """The hold after its share grew by `change`."""
    return hold._replace(share=hold.share.plus(change))


def cap_of(row: Row[Any]) -> BudgetCap:
    """A row of `budget_caps`."""
    return BudgetCap(
        scope=row.scope,
        window=row.period,
        currency=row.currency,
        version=row.version,
        verdict=row.verdict,
        cap=None if row.cap is None else unit(row.currency, row.cap),
        set_at=moment(row.set_at),
        set_by=row.set_by,
        note=row.note,
    )


@lru_cache
def _resolved(
    names: tuple[str, ...], rows: tuple[Row[Any], ...], *, unlimited: bool
) -> tuple[list[Cap], list[str]]:
    """Caps change seldom and are read at each call: what the same rows mean is known."""
    return resolve_caps(names, map(cap_of, rows), unlimited=unlimited)


def _amounts(row: Row[Any], kind: str) -> Amounts:
    return Amounts(*(getattr(row, f"{kind}_{suffix}") for suffix in SUFFIXES))


def _counters(reserved: Amounts, settled: Amounts) -> dict[str, object]:
    return dict(zip(COUNTERS, (*reserved, *settled), strict=True))


def _at(hold: Hold, scope: str) -> dict[str, object]:
    return {"at_scope": scope, "at_hour": hold.hour}


def _first_end(connection: Connection, scope: str) -> int | None:
    """When the first hold of a scope ends, as far as the next thousand holds tell."""
    query = select(runs.c.scopes, runs.c.expires_at).where(runs.c.n_settle == 0)
    found = connection.execute(query.order_by(runs.c.expires_at).limit(1_000))
    return next((row.expires_at for row in found if scope in json.loads(row.scopes)), None)
