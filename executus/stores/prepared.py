"""Statements that are compiled once and, on SQLite, run on the driver itself.

SQLAlchemy's way to execute costs five times what SQLite does with a small statement, and a step of
a run makes eighteen of them (docs/decisions/0010-sqlite-in-a-thread.md). The text is SQLAlchemy's
all the same: one statement for both databases. On PostgreSQL, where a round trip costs more than
either, nothing is different.
"""

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Column, Connection, Executable, Table

from executus.stores.dialects import insert

Values = Mapping[str, object]
Make = Callable[[str], Executable]
"""Makes the statement for a dialect, where the two differ."""


class Prepared:
    """One statement. A row answers to the names of its columns, on either database."""

    def __init__(self, statement: Executable | Make, columns: Iterable[str] | None = None) -> None:
        """`columns` are those that an INSERT fills, when it does not say so itself."""
        self._statement = statement
        self._columns = None if columns is None else list(columns)
        self._made: dict[str, Executable] = {}
        self._on_driver: _OnDriver | None = None

    def all(self, connection: Connection, values: Values) -> Sequence[Any]:
        """Every row."""
        if connection.dialect.name == "sqlite":
            return self._sqlite(connection).all(driver(connection), values)
        return connection.execute(self._for(connection), values).all()

    def first(self, connection: Connection, values: Values) -> Any:  # noqa: ANN401 - a row
        """The first row; None without any."""
        return next(iter(self.all(connection, values)), None)

    def run(self, connection: Connection, values: Values) -> int:
        """Execute it; answers how many rows it touched."""
        if connection.dialect.name == "sqlite":
            return self._sqlite(connection).run(driver(connection), values)
        return connection.execute(self._for(connection), values).rowcount

    def run_each(self, connection: Connection, values: Sequence[Values]) -> None:
        """Execute it for each of `values`."""
        if connection.dialect.name == "sqlite":
            self._sqlite(connection).run_each(driver(connection), values)
        elif values:
            connection.execute(self._for(connection), values)

    def _for(self, connection: Connection) -> Executable:
        if not callable(self._statement):
            return self._statement
        dialect = connection.dialect.name
        if dialect not in self._made:
            self._made[dialect] = self._statement(dialect)
        return self._made[dialect]

    def _sqlite(self, connection: Connection) -> "_OnDriver":
        if self._on_driver is None:
            self._on_driver = _OnDriver(self._for(connection), connection, self._columns)
        return self._on_driver


class _OnDriver:
    """The statement as SQLite's driver takes it.

    All our columns are texts and integers, which pass through SQLAlchemy as they are.
    """

    def __init__(
        self, statement: Executable, connection: Connection, columns: list[str] | None
    ) -> None:
        compiled: Any = cast("Any", statement).compile(
            dialect=connection.dialect, column_keys=columns
        )
        self._text = str(compiled)
        self._names: list[str] = compiled.positiontup or []
        self._fixed: dict[str, object] = {
            name: bind.value for name, bind in compiled.binds.items() if not bind.required
        }
        self._row: Callable[[Iterable[Any]], Any] | None = None

    def all(self, raw: sqlite3.Connection, values: Values) -> list[Any]:
        cursor = raw.execute(self._text, self._order(values))
        if self._row is None:
            self._row = _row_type([column[0] for column in cursor.description])
        return [self._row(row) for row in cursor.fetchall()]

    def run(self, raw: sqlite3.Connection, values: Values) -> int:
        return raw.execute(self._text, self._order(values)).rowcount

    def run_each(self, raw: sqlite3.Connection, values: Sequence[Values]) -> None:
        raw.executemany(self._text, [self._order(each) for each in values])

    def _order(self, values: Values) -> list[Any]:
        fixed = self._fixed
        return [values[name] if name in values else fixed[name] for name in self._names]


def _row_type(names: list[str]) -> Callable[[Iterable[Any]], Any]:
    make: Any = namedtuple  # noqa: PYI024 - the names are known at run time only
    return cast("Callable[[Iterable[Any]], Any]", make("Row", names)._make)


def unless_there(table: Table, *at: Column[Any]) -> Prepared:
    """Insert a row, and answer it; nothing when its key is there already.

    `at` is the key where only that one counts: another conflict stays an error then.
    """

    # A driver's count of inserted rows differs between the two databases; RETURNING does not.
    def make(dialect: str) -> Executable:
        key = next(iter(table.primary_key))
        new = insert(dialect, table).on_conflict_do_nothing(index_elements=at or None)
        return new.returning(key)

    return Prepared(make, columns=[column.name for column in table.columns])


def driver(connection: Connection) -> sqlite3.Connection:
    """SQLite's own connection, inside the transaction of `connection`."""
    return cast("sqlite3.Connection", connection.connection.dbapi_connection)
