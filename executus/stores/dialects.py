"""Where SQLite and PostgreSQL differ: opening, transactions, errors, upserts."""

import shlex
import sqlite3
import time
from typing import Protocol

from sqlalchemy import URL, Connection, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from executus.errors import SchemaError, StoreError
from executus.redact import Redactor
from executus.sanitize import clean_line

BEGUN = "executus_begun"
"""Execution option of a connection whose transactions somebody else begins."""
MISSING_TABLE = "42P01"
"""PostgreSQL's undefined_table."""
RETRIED_STATES = frozenset({"40001", "40P01", "23505"})
"""PostgreSQL's serialization failure, deadlock and lost race for a key: nothing was written."""
MAX_MESSAGE = 300
"""Characters of a store error."""
WAL_TRIES = 20


class _Cursor(Protocol):
    def execute(self, statement: str) -> object: ...
    def fetchone(self) -> tuple[object, ...] | None: ...
    def close(self) -> None: ...


class _Raw(Protocol):
    isolation_level: str | None

    def cursor(self) -> _Cursor: ...


def set_up_sqlite(connection: _Raw, _record: object) -> None:
    """Make a new SQLite connection safe: a commit that returned survives a power cut.

    WAL with synchronous=NORMAL may lose it (sqlite.org/wal.html). Transactions are begun by
    `begin_sqlite`, not by the driver, which would start them at the first write only.
    """
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    _use_wal(cursor)
    cursor.close()


def _use_wal(cursor: _Cursor) -> None:
    # Changing the mode of a new file does not wait for another process that does the same.
    for attempt in range(WAL_TRIES):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.fetchone()
        except Exception as failure:
            if "locked" not in str(failure) or attempt == WAL_TRIES - 1:
                raise
            time.sleep(0.05)
        else:
            return


def begin_sqlite(connection: Connection) -> None:
    """Begin a transaction that reads: the driver would begin none before the first write.

    One that writes takes the lock first (`executus.stores.sqlite`): a deferred transaction that
    writes late fails at once instead of waiting.
    """
    if not connection.get_execution_options().get(BEGUN):
        connection.exec_driver_sql("BEGIN")


def broke(failure: DBAPIError) -> bool:
    """Whether the server broke the transaction in a way that another try on the spot may cure."""
    state = getattr(failure.orig, "sqlstate", None)
    return failure.connection_invalidated or state in RETRIED_STATES


def explain(failure: BaseException, url: URL) -> StoreError:
    """A driver's error as one of ours: one line, no password, no values."""
    cause = failure.orig if isinstance(failure, DBAPIError) and failure.orig else failure
    first = (str(cause).strip() or type(cause).__name__).splitlines()[0]
    if isinstance(url.password, str) and url.password:
        first = first.replace(url.password, "***")
    if getattr(cause, "sqlstate", None) == MISSING_TABLE or first.startswith("no such table"):
        name = url.render_as_string(hide_password=True)
        return SchemaError(f"the database {name} has no executus schema: {bring_up(url)}")
    if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
        return SchemaError(
            f"{url.database} is not an SQLite database: move it away, or name another file by "
            "EXECUTUS_DATABASE_URL (of a command: --database)"
        )
    if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_CANTOPEN:
        first = (
            f"{first} {url.database}: its folder must be there and writable, also to read, for "
            "SQLite keeps files of its own beside it; copy it elsewhere, its -wal file with it"
        )
    line = clean_line(Redactor().text(first), MAX_MESSAGE)
    return StoreError(f"{url.get_backend_name()}: {line}")


def in_memory(url: URL) -> bool:
    """Whether it is gone with its process."""
    if url.get_backend_name() != "sqlite":
        return False
    name = url.database
    return not name or ":memory:" in name or url.query.get("mode") == "memory"


def bring_up(url: URL) -> str:
    """What to do about tables that are not there: the command for this very database."""
    if in_memory(url):
        return "it is gone with its process, so give a file, or Database(url, auto_migrate=True)"
    shown = url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)
    hidden = " (with its password)" if url.password else ""
    return f"run `executus migrate --database {shlex.quote(shown)}`{hidden}"


Insert = postgresql.Insert | sqlite.Insert


def insert(dialect: str, table: Table) -> Insert:
    """An INSERT that knows ON CONFLICT."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
