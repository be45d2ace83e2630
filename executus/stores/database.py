"""One database for records and money: SQLite by default, PostgreSQL at scale.

All that the stores see is `read` and `write`, each one transaction: a plain function over a
SQLAlchemy connection. On PostgreSQL it runs over the async driver; on SQLite it runs as a whole in
a thread, because a driver that hops to its thread for each statement costs four times the CPU
(docs/decisions/0010-sqlite-in-a-thread.md). When a transaction fails the caller gets a `StoreError`
without SQL, values or passwords in its text.
"""

import asyncio
import importlib.util
import random
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from sqlalchemy import URL, Connection, func, make_url, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from executus.errors import ConfigError, MissingExtra, SchemaError, StoreError
from executus.stores.backend import Backend, T, Work
from executus.stores.canonical import micros
from executus.stores.dialects import bring_up, broke, explain, in_memory
from executus.stores.migrations import migrate, missing
from executus.stores.postgres import PostgresBackend
from executus.stores.sqlite import SqliteBackend

DEFAULT_FILE = Path(".executus") / "executus.db"
"""Where the default database lies, below the project folder."""
ATTEMPTS = 5
"""Times a transaction is tried when the server dropped the connection or broke a deadlock."""
REPLICA_ATTRS = frozenset({"any", "standby", "prefer-standby", "read-only"})

Dialect = Literal["sqlite", "postgresql"]


class Database:
    """A pool of connections to one database.

    `url` is `sqlite:///path/to/file` or `postgresql://user:password@host/name`; without one it is
    `.executus/executus.db` below the current folder. The first call checks that the schema is
    there; `auto_migrate` brings it up instead of complaining.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        pool_size: int = 10,
        auto_migrate: bool = False,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """`clock` replaces the database's own clock, for tests."""
        self._url = parse_url(url)
        self._auto_migrate = auto_migrate
        self._clock = clock
        self._ready = False
        self._backend: Backend = (
            SqliteBackend(self._url)
            if self.dialect == "sqlite"
            else PostgresBackend(self._url, pool_size)
        )

    @property
    def dialect(self) -> Dialect:
        """Which SQL it speaks."""
        return "sqlite" if self._url.get_backend_name() == "sqlite" else "postgresql"

    @property
    def location(self) -> str:
        """Where it is, for people: never with a password."""
        return self._url.render_as_string(hide_password=True)

    @property
    def in_memory(self) -> bool:
        """Whether it is gone with its process."""
        return in_memory(self._url)

    def require_primary(self) -> None:
        """Refuse a URL that may lead to a replica: a gate never decides on what is stale."""
        attrs = str(self._url.query.get("target_session_attrs", "read-write"))
        if attrs in REPLICA_ATTRS:
            raise ConfigError(
                f"a budget needs the primary, and target_session_attrs={attrs} may give a replica: "
                "leave it out or say read-write"
            )

    def now(self, connection: Connection) -> int:
        """Microseconds since 1970 by the server's clock: workers' clocks may be off by a day."""
        if self._clock is not None:
            return micros(self._clock())
        if self.dialect == "sqlite":
            return micros(datetime.now(UTC))
        return micros(connection.execute(select(func.clock_timestamp())).scalar_one())

    async def read(self, work: Work[T]) -> T:
        """Run `work` in a transaction that only reads."""
        await self.ready()
        return await self._run(work, write=False)

    async def write(self, work: Work[T]) -> T:
        """Run `work` in one transaction: all of it lands, or nothing.

        `work` runs again when the server broke the first try, so it decides by what it reads.
        """
        await self.ready()
        return await self._run(work, write=True)

    async def migrate(self) -> list[str]:
        """Bring the schema up; answers the names of what was applied now."""
        applied = await self._run(lambda connection: migrate(connection, self.dialect), write=True)
        self._ready = True
        return applied

    async def close(self) -> None:
        """Close every connection."""
        await self._backend.close()

    async def ready(self) -> None:
        """Check that the schema is there, or bring it up; the first call of anything else does so.

        Raises:
            SchemaError: it is not, and `auto_migrate` is off; or the file is no database.
            StoreError: the database does not answer.
        """
        if self._ready:
            return
        if self._auto_migrate:
            await self.migrate()
            return
        lacking = await self._run(missing, write=False)
        if lacking:
            raise SchemaError(
                f"the database {self.location} lacks {', '.join(lacking)}: {bring_up(self._url)}"
            )
        self._ready = True

    async def _run(self, work: Work[T], *, write: bool) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._backend.transact(work, write=write)
            except DBAPIError as failure:
                if attempt == ATTEMPTS or not broke(failure):
                    raise explain(failure, self._url) from None
                await asyncio.sleep(random.uniform(0, 0.02 * attempt))  # noqa: S311 - jitter
            except (SQLAlchemyError, sqlite3.Error, OSError, TimeoutError) as failure:
                raise explain(failure, self._url) from None
        raise StoreError("the database broke every try")


def parse_url(url: str | None) -> URL:
    """The URL with its driver; refuses what is not SQLite or PostgreSQL, and never repeats it."""
    if not url:
        url = f"sqlite:///{DEFAULT_FILE}"
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (SQLAlchemyError, ValueError):
        raise ConfigError(
            "the database URL cannot be read; it looks like sqlite:///path/to/file.db or "
            "postgresql://user:password@host/name"
        ) from None
    if backend == "sqlite":
        return parsed.set(drivername="sqlite+pysqlite")
    if backend not in {"postgresql", "postgres"}:
        raise ConfigError(f"`{backend}` is not a database for executus: use sqlite or postgresql")
    if importlib.util.find_spec("psycopg") is None:
        raise MissingExtra("postgres", "A PostgreSQL database")
    return parsed.set(drivername="postgresql+psycopg")
