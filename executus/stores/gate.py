"""The gate: caps, and the conditional updates that no concurrent caller passes together.

Counters stand in two tables, one row a scope (since ever) and one row a scope and hour (of the
reserve). Whoever changes a scope's numbers locks its row first, in sorted order, so that the sums
in the conditional updates are those of one moment (reliability.md D.2).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, func, select, update

from executus.budget import BudgetCap, BudgetDecision, Window
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
from executus.stores.schema import budget_caps as caps
from executus.stores.schema import budget_hours as hours
from executus.stores.schema import budget_runs as runs
from executus.stores.schema import budget_scopes as scopes

SUFFIXES = ("ms", "tokens", "micro_usd")


@dataclass(frozen=True, slots=True)
class Hold:
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

    def used(self, settled: Any, reserved: Any) -> Any:  # noqa: ANN401 - numbers or SQL columns
        """What counts against a cap: also what others hold and have not spent yet."""
        return settled + reserved

    def caps(self, connection: Connection, names: Sequence[str]) -> list[Cap]:
        """The caps that hold for scopes; raises Refused when nothing was said about one."""
        wanted = {*names, *map(wildcard, names)}
        found = connection.execute(select(caps).where(caps.c.scope.in_(wanted)))
        rows = [cap_of(row) for row in found]
        holding, missing = resolve_caps(names, rows, unlimited=self._unlimited)
        if missing:
            raise Refused(denied_missing(missing[0]))
        return holding

    def take(self, connection: Connection, hold: Hold, asked: Mapping[str, Amounts]) -> None:
        """Reserve `asked` (by scope) under all caps, or raise Denied."""
        holding = self.caps(connection, hold.scopes)
        self._lock(connection, hold)
        tree = self._tree(connection, hold, holding)
        for scope in hold.scopes:
            mine = [c for c in holding if c.scope == scope and asked[scope].of(c.currency)]
            if not self._fits_run(mine, tree, asked[scope]):
                raise Denied(hold, asked)
            conditions = [self._fits(c, hold.hour, asked[scope]) for c in mine if c.window != "run"]
            statement = update(scopes).where(scopes.c.scope == scope, *conditions)
            result = connection.execute(statement.values(_grow(scopes, asked[scope], ZERO)))
            if result.rowcount != 1:
                raise Denied(hold, asked)
        self._post_hours(connection, hold, {s: (asked[s], ZERO) for s in hold.scopes})

    def post(
        self,
        connection: Connection,
        hold: Hold,
        changes: Mapping[str, tuple[Amounts, Amounts]],
    ) -> None:
        """Change reserved and settled of scopes without asking: the money is gone already."""
        self._lock(connection, hold)
        for scope in hold.scopes:
            reserved, settled = changes[scope]
            statement = update(scopes).where(scopes.c.scope == scope)
            connection.execute(statement.values(_grow(scopes, reserved, settled)))
        self._post_hours(connection, hold, changes)

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
                wait = waiting(cap, asked, uses, now=now, expires_at=ends)
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

    def _fits(self, cap: Cap, hour: int, asked: Amounts) -> ColumnElement[bool]:
        suffix = _suffix(cap)
        table = scopes if cap.window == "total" else hours
        used = self.used(table.c[f"settled_{suffix}"], table.c[f"reserved_{suffix}"])
        if cap.window != "total":
            first, last = hours_of(cap.window, hour)
            used = (
                select(func.coalesce(func.sum(used), 0))
                .where(hours.c.scope == cap.scope, hours.c.hour.between(first, last))
                .scalar_subquery()
            )
        fits: ColumnElement[bool] = used + asked.of(cap.currency) <= cap.cap
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
        names = list(hold.scopes)
        query = select(scopes.c.scope).where(scopes.c.scope.in_(names)).order_by(scopes.c.scope)
        there = set((connection.execute(query.with_for_update())).scalars())
        if len(there) < len(names):
            missing = [{"scope": name, **_row(ZERO, ZERO)} for name in names if name not in there]
            statement = insert(self._dialect, scopes).on_conflict_do_nothing()
            connection.execute(statement, missing)
            connection.execute(query.with_for_update())

    def _post_hours(
        self,
        connection: Connection,
        hold: Hold,
        changes: Mapping[str, tuple[Amounts, Amounts]],
    ) -> None:
        for scope in hold.scopes:
            reserved, settled = changes[scope]
            here = and_(hours.c.scope == scope, hours.c.hour == hold.hour)
            statement = update(hours).where(here).values(_grow(hours, reserved, settled))
            if (connection.execute(statement)).rowcount == 0:
                row = {"scope": scope, "hour": hold.hour, **_row(reserved, settled)}
                connection.execute(hours.insert().values(row))

    def _tree(
        self, connection: Connection, hold: Hold, holding: Iterable[Cap]
    ) -> list[tuple[frozenset[str], Use]]:
        if not any(cap.window == "run" for cap in holding):
            return []
        found = connection.execute(select(runs).where(runs.c.root_run_id == hold.root_run_id))
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
        share=_amounts(row, "share"),
        need=Amounts(0, row.need_tokens, row.need_micro_usd),
        settled_at=row.settled_at,
        n_settle=row.n_settle,
        child_ms=row.child_ms,
        lost=row.lost,
    )


def row_of(hold: Hold) -> dict[str, object]:
    """A Hold as a row of `budget_runs`."""
    plain = {
        name: getattr(hold, name)
        for name in Hold.__slots__
        if name not in {"share", "need", "scopes"}
    }
    share = {f"share_{s}": amount for s, amount in zip(SUFFIXES, hold.share, strict=True)}
    need = {"need_tokens": hold.need.tokens, "need_micro_usd": hold.need.micro_usd}
    return {**plain, "scopes": json.dumps(hold.scopes), **share, **need}


def with_share(hold: Hold, change: Amounts) -> Hold:
    """The hold after its share grew by `change`."""
    return replace(hold, share=hold.share.plus(change))


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


def _suffix(cap: Cap) -> str:
    return "ms" if cap.currency == "seconds" else cap.currency


def _amounts(row: Row[Any], kind: str) -> Amounts:
    return Amounts(*(getattr(row, f"{kind}_{suffix}") for suffix in SUFFIXES))


def _row(reserved: Amounts, settled: Amounts) -> dict[str, int]:
    pairs = (("reserved", reserved), ("settled", settled))
    return {
        f"{kind}_{suffix}": amount
        for kind, amounts in pairs
        for suffix, amount in zip(SUFFIXES, amounts, strict=True)
    }


def _grow(table: Table, reserved: Amounts, settled: Amounts) -> dict[str, Any]:
    changes = _row(reserved, settled)
    grown = {name: table.c[name] + amount for name, amount in changes.items() if amount}
    return grown or {"reserved_ms": table.c.reserved_ms}


def _first_end(connection: Connection, scope: str) -> int | None:
    """When the first hold of a scope ends, as far as the next thousand holds tell."""
    query = select(runs.c.scopes, runs.c.expires_at).where(runs.c.n_settle == 0)
    found = connection.execute(query.order_by(runs.c.expires_at).limit(1_000))
    return next((row.expires_at for row in found if scope in json.loads(row.scopes)), None)
