"""What people ask a budget in a database, and tell it: caps, use, holds, overruns."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, and_, func, select

from executus.budget import BudgetCap, BudgetHold, BudgetOverrun, BudgetUse, Currency, Window
from executus.stores.canonical import ident, micros, moment
from executus.stores.caps import CapChange, raised, use_of
from executus.stores.database import Database
from executus.stores.gate import Gate, Refused, cap_of, hold_of
from executus.stores.ledger import CURRENCIES, HOUR, WINDOWS, Cap, scope_name, stored, unit
from executus.stores.schema import budget_caps as caps
from executus.stores.schema import budget_overruns as overruns
from executus.stores.schema import budget_runs as runs

T = TypeVar("T")
CAPS_LOCK = 0x63617073
"""PostgreSQL advisory lock: versions of caps are numbered one after the other."""


class BudgetDesk:
    """The side of `SqlBudget` that people use; runs use the other one."""

    gate_type: type[Gate] = Gate

    def __init__(self, database: Database, *, unlimited_by_default: bool = False) -> None:
        """Raises ConfigError for a database URL that may lead to a replica."""
        database.require_primary()
        self._database = database
        self._gate = self.gate_type(database, unlimited=unlimited_by_default)

    async def ready(self) -> None:
        """See `executus.ports.Ready`."""
        await self._database.ready()

    async def set_cap(self, change: CapChange) -> BudgetCap:
        """Say what a scope may use, or that it is unlimited; kept as a new version.

        It holds from the next reserve or extension on, and counts what was used before.
        """
        change = change.checked()
        return await self._change(lambda _: change)

    async def raise_cap(
        self, scope: str, window: Window, currency: Currency, more: float, *, by: str = ""
    ) -> BudgetCap:
        """Add to a scope's cap; on a cap that holds by `*` it makes the scope's own.

        Raises:
            RequestError: there is none to add to, or it would be larger than a cap can be.
        """
        name = scope_name(scope)

        def change(connection: Connection) -> CapChange:
            more_of_it = raised(self._caps(connection, name), name, window, currency, more)
            return more_of_it._replace(by=by).checked()

        return await self._change(change)

    async def caps(self) -> list[BudgetCap]:
        """Every version of every cap, in the order they were set."""
        query = select(caps).order_by(caps.c.set_at, caps.c.scope, caps.c.version)
        return await self._list(query, cap_of)

    async def show(self, scope: str) -> list[BudgetUse]:
        """What a scope used and may use now, for every window and currency.

        Of the window `run` there is a cap only: each run begins with nothing used.
        """
        name = scope_name(scope)

        def work(connection: Connection) -> list[BudgetUse]:
            hour = self._database.now(connection) // HOUR
            holding = self._caps(connection, name)
            shown: list[BudgetUse] = []
            for window in WINDOWS:
                uses = []
                if window != "run":
                    uses = self._gate.uses(connection, name, window, hour)
                shown += [use_of(name, window, c, holding, uses) for c in CURRENCIES]
            return shown

        return await self._database.read(work)

    async def holds_past(self, at: datetime, *, limit: int = 1_000) -> list[BudgetHold]:
        """Reservations that are not settled and whose time is not after `at`."""
        query = select(runs).where(runs.c.n_settle == 0, runs.c.expires_at <= micros(at))
        return await self._list(query.order_by(runs.c.expires_at).limit(limit), _public)

    async def hold(self, run_id: str) -> BudgetHold | None:
        """The run's reservation while it is not settled."""
        query = select(runs).where(runs.c.n_settle == 0, runs.c.run_id == ident(run_id))
        found = await self._list(query, _public)
        return found[0] if found else None

    async def overruns(self, run_id: str | None = None) -> list[BudgetOverrun]:
        """Spending beyond its hold."""
        query = select(overruns).order_by(overruns.c.at, overruns.c.run_id)
        if run_id is not None:
            query = query.where(overruns.c.run_id == ident(run_id))
        return await self._list(query, _overrun)

    async def _change(self, change: Callable[[Connection], CapChange]) -> BudgetCap:
        """One new version of a cap.

        A connection that breaks after its COMMIT looks like one that broke before, and the work
        runs again: what an earlier try wrote is known by its number and its microsecond, or money
        would be added twice.
        """
        tried: list[BudgetCap] = []

        def work(connection: Connection) -> BudgetCap:
            self._lock_caps(connection)  # first: of two raises at once neither reads the old cap
            for version in tried:
                if self._is_there(connection, version):
                    return version
            version = self._add(connection, change(connection))
            tried.append(version)
            return version

        return await self._database.write(work)

    def _is_there(self, connection: Connection, version: BudgetCap) -> bool:
        query = select(caps).where(
            caps.c.scope == version.scope,
            caps.c.period == version.window,
            caps.c.currency == version.currency,
            caps.c.version == version.version,
        )
        row = connection.execute(query).first()
        return row is not None and cap_of(row) == version

    def _lock_caps(self, connection: Connection) -> None:
        """Let no one else change a cap before this transaction ends."""
        if self._database.dialect == "postgresql":  # SQLite has one writer anyway
            connection.execute(select(func.pg_advisory_xact_lock(CAPS_LOCK)))

    def _add(self, connection: Connection, change: CapChange) -> BudgetCap:
        """The change as the next version of its cap. The caps are locked."""
        scope, period, currency = change.place
        here = and_(caps.c.scope == scope, caps.c.period == period, caps.c.currency == currency)
        last = connection.scalar(select(func.max(caps.c.version)).where(here))
        at = moment(self._database.now(connection))
        version = change.version((last or 0) + 1, at)
        values = version.model_dump() | {"period": version.window, "set_at": micros(at)}
        del values["window"]
        if change.currency is not None and change.cap is not None:
            values["cap"] = stored(change.currency, change.cap)
        connection.execute(caps.insert().values(values))
        return version

    def _caps(self, connection: Connection, scope: str) -> list[Cap]:
        try:
            return self._gate.caps(connection, [scope])
        except Refused:
            return []

    async def _list(self, query: Select[Any], of: Callable[[Any], T]) -> list[T]:
        def work(connection: Connection) -> list[T]:
            return [of(row) for row in connection.execute(query)]

        return await self._database.read(work)


def _public(row: Row[Any]) -> BudgetHold:
    hold = hold_of(row)
    return BudgetHold(
        run_id=hold.run_id,
        workflow_run_id=hold.workflow_run_id,
        reserved_at=moment(hold.reserved_at),
        expires_at=moment(hold.expires_at),
        seconds=hold.share.ms / 1000,
        tokens=hold.share.tokens,
        micro_usd=hold.share.micro_usd,
    )


def _overrun(row: Row[Any]) -> BudgetOverrun:
    return BudgetOverrun(
        run_id=row.run_id,
        cause=row.cause,
        currency=row.currency,
        excess=unit(row.currency, row.excess),
        at=moment(row.at),
    )
