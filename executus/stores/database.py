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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from sqlalchemy import URL, Connection, create_engine, event, func, make_url, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import QueuePool, StaticPool

from executus.errors import ConfigError, MissingExtra, SchemaError, StoreError
from executus.stores.canonical import micros
from executus.stores.dialects import WRITES, begin_sqlite, broke, explain, set_up_sqlite
from executus.stores.migrations import migrate, missing

DEFAULT_FILE = Path(".executus") / "executus.db"
"""Where the default database lies, below the project folder."""
TIMEOUT = 15.0
"""Seconds a transaction may take on PostgreSQL; SQLite waits as long for its write lock."""
ATTEMPTS = 5
"""Times a transaction is tried when the server dropped the connection or broke a deadlock."""
REPLICA_ATTRS = frozenset({"any", "standby", "prefer-standby", "read-only"})

T = TypeVar("T")
Dialect = Literal["sqlite", "postgresql"]
Work = Callable[[Connection], T]


class Backend(Protocol):
    """Runs one transaction, and closes."""

    async def transact(self, work: Work[T], *, write: bool) -> T:
        """Run `work` and commit, or roll back when it raises."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class SqliteBackend:
    """SQLite: a transaction is one hop to a thread."""

    def __init__(self, url: URL) -> None:
        memory = not url.database or url.database == ":memory:"
        if url.database and not memory:
            Path(url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._engine = create_engine(
            url,
            hide_parameters=True,
            poolclass=StaticPool if memory else QueuePool,
            connect_args={"timeout": TIMEOUT, "check_same_thread": False},
        )
        event.listen(self._engine, "connect", set_up_sqlite)
        event.listen(self._engine, "begin", begin_sqlite)
        # A database in memory is one connection, so one thread.
        self._threads = ThreadPoolExecutor(1 if memory else 4, "executus-sqlite")
        # SQLite has one writer. Waiting here is fair and wakes at once; its own busy handler
        # sleeps up to 100 ms between two looks.
        self._writer = asyncio.Lock()

    async def transact(self, work: Work[T], *, write: bool) -> T:
        """Run `work` in a thread."""
        loop = asyncio.get_running_loop()
        if not write:
            return await loop.run_in_executor(self._threads, self._do, work, False)
        async with self._writer:
            return await loop.run_in_executor(self._threads, self._do, work, True)

    async def close(self) -> None:
        """Close every connection and end the threads."""
        self._threads.shutdown(wait=True)
        self._engine.dispose()

    def _do(self, work: Work[T], write: bool) -> T:
        with self._engine.connect() as connection:
            connection.execution_options(**{WRITES: write})
            with connection.begin():
                return work(connection)


class PostgresBackend:
    """PostgreSQL: the async driver, driven by SQLAlchemy's greenlets."""

    def __init__(self, url: URL, pool_size: int) -> None:
        # Prepared statements break behind a transaction-pooling pgbouncer (reliability.md F18), and
        # a replica must never be read for a decision.
        options: dict[str, object] = {"prepare_threshold": None, "connect_timeout": 5}
        if "target_session_attrs" not in url.query:
            options["target_session_attrs"] = "read-write"
        self._engine = create_async_engine(
            url,
            hide_parameters=True,
            isolation_level="READ COMMITTED",
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=TIMEOUT,
            connect_args=options,
        )
        # A read sees one moment: a proof that mixes two would name breaks that are not there.
        self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ")

    async def transact(self, work: Work[T], *, write: bool) -> T:
        """Run `work`, for at most TIMEOUT seconds."""
        engine = self._engine if write else self._reader
        async with asyncio.timeout(TIMEOUT), engine.begin() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


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
        await self._prepare()
        return await self._run(work, write=False)

    async def write(self, work: Work[T]) -> T:
        """Run `work` in one transaction: all of it lands, or nothing.

        `work` runs again when the server broke the first try, so it decides by what it reads.
        """
        await self._prepare()
        return await self._run(work, write=True)

    async def migrate(self) -> list[str]:
        """Bring the schema up; answers the names of what was applied now."""
        applied = await self._run(lambda connection: migrate(connection, self.dialect), write=True)
        self._ready = True
        return applied

    async def close(self) -> None:
        """Close every connection."""
        await self._backend.close()

    async def _prepare(self) -> None:
        if self._ready:
            return
        if self._auto_migrate:
            await self.migrate()
            return
        lacking = await self._run(missing, write=False)
        if lacking:
            raise SchemaError(
                f"the database {self.location} lacks {', '.join(lacking)}: run `executus migrate`"
            )
        self._ready = True

    async def _run(self, work: Work[T], *, write: bool) -> T:
        """Run `work` in a task of its own, so that a cancel never tears a transaction."""
        task = asyncio.ensure_future(self._retry(work, write=write))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task], timeout=TIMEOUT)
            if not task.cancelled():
                task.exception()
            raise

    async def _retry(self, work: Work[T], *, write: bool) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._backend.transact(work, write=write)
            except DBAPIError as failure:
                if attempt == ATTEMPTS or not broke(failure):
                    raise explain(failure, self._url) from None
                await asyncio.sleep(random.uniform(0, 0.02 * attempt))  # noqa: S311 - jitter
            except (SQLAlchemyError, OSError, TimeoutError) as failure:
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
