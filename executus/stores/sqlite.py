"""Transactions on SQLite: as a whole in a thread, and those that wait at the same time in one.

A commit is on disk when it returns, which takes a millisecond or ten; the writer is one thread. So
whatever was asked for while it worked goes into its next transaction. One part that fails takes
nothing of the others with it: they are run again, each behind a savepoint of its own
(docs/decisions/0010-sqlite-in-a-thread.md).
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool, StaticPool

from executus.errors import StoreError
from executus.folder import make_folder
from executus.stores.backend import TIMEOUT, T, Work, ended, whole
from executus.stores.dialects import BEGUN, begin_sqlite, set_up_sqlite
from executus.stores.prepared import driver

FOLDER_SETTING = "EXECUTUS_DATA_DIR, or EXECUTUS_DATABASE_URL (of a command: --database)"
READERS = 4
"""Threads that read at the same time."""
TOGETHER = 64
"""Works in one transaction, at most: whoever comes later waits for no more than that."""


class Outcome(NamedTuple):
    """What became of a work."""

    value: Any
    failure: BaseException | None


@dataclass(slots=True)
class Asked:
    """A work that waits for the writer."""

    work: Work[Any]
    future: asyncio.Future[Any]
    """Whoever waits for it; changed in its own loop only."""
    told: bool = False

    def tell(self, outcome: Outcome) -> None:
        """Let whoever waits know."""
        self.told = True
        if self.future.done():  # cancelled this very moment
            return
        if outcome.failure is None:
            self.future.set_result(outcome.value)
        else:
            self.future.set_exception(outcome.failure)


class SqliteBackend:
    """SQLite: one writer thread that gathers, a few readers."""

    def __init__(self, url: URL) -> None:
        self._memory = not url.database or url.database == ":memory:"
        if url.database and not self._memory:
            make_folder(Path(url.database).parent, mode=0o700, setting=FOLDER_SETTING)
        self._engine = create_engine(
            url,
            hide_parameters=True,
            poolclass=StaticPool if self._memory else QueuePool,
            connect_args={"timeout": TIMEOUT, "check_same_thread": False},
        )
        event.listen(self._engine, "connect", set_up_sqlite)
        event.listen(self._engine, "begin", begin_sqlite)
        self._readers = ThreadPoolExecutor(READERS, "executus-sqlite-reader")
        self._lock = threading.Lock()  # a database may be used from more loops than one
        self._asked: list[Asked] = []
        self._queue: SimpleQueue[list[Asked] | None] = SimpleQueue()
        self._writer: threading.Thread | None = None
        self._closed = False
        self._connection: Connection | None = None

    async def transact(self, work: Work[T], *, write: bool) -> T:
        """Run `work` in a thread."""
        if self._closed:
            raise StoreError("the database is closed")
        loop = asyncio.get_running_loop()
        # A database in memory is one connection, so one thread: the writer's.
        if not write and not self._memory:
            return await whole(loop.run_in_executor(self._readers, self._read, work))
        asked = Asked(work, loop.create_future())
        with self._lock:
            self._asked.append(asked)
            first = len(self._asked) == 1
        if first:
            loop.call_soon(self._hand_over)  # with what this turn of the loop still asks for
        try:
            value: T = await asked.future
        except asyncio.CancelledError:
            if not asked.told:  # the cancel took the future: wait with another one
                asked.future = loop.create_future()
                await ended(asked.future)
            raise
        return value

    async def close(self) -> None:
        """Close every connection and end the threads; what was asked for is done before."""
        self._closed = True
        self._hand_over()
        self._queue.put(None)
        if self._writer is not None:
            self._writer.join()
        self._readers.shutdown(wait=True)
        self._drop()
        self._engine.dispose()

    def _hand_over(self) -> None:
        with self._lock:
            if not self._asked:
                return
            asked, self._asked = self._asked, []
            self._queue.put(asked)
            if self._writer is None:
                # A daemon: whoever never closes the database does not wait for it at exit.
                self._writer = threading.Thread(
                    target=self._write, name="executus-sqlite-writer", daemon=True
                )
                self._writer.start()

    def _read(self, work: Work[T]) -> T:
        with self._engine.connect() as connection, connection.begin():
            return work(connection)

    def _write(self) -> None:
        """Write whatever waits, until the database is closed."""
        while (batch := self._queue.get()) is not None:
            last = False
            with contextlib.suppress(Empty):
                while len(batch) < TOGETHER and not last:
                    more = self._queue.get_nowait()
                    last = more is None
                    batch = [*batch, *(more or ())]
            for start in range(0, len(batch), TOGETHER):
                part = batch[start : start + TOGETHER]
                _tell_all(part, self._together(part))
            if last:
                return

    def _together(self, batch: Sequence[Asked]) -> list[Outcome]:
        """Commit a batch; when the commit fails, all of it failed."""
        try:
            if self._connection is None:
                self._connection = self._engine.connect().execution_options(**{BEGUN: True})
            return _commit(self._connection, batch)
        except BaseException as failure:  # noqa: BLE001 - told to whoever asked
            if isinstance(failure, sqlite3.Error | SQLAlchemyError):
                self._drop()
            return [Outcome(None, failure)] * len(batch)

    def _drop(self) -> None:
        """Write over a new connection from now on: this one may be broken."""
        connection, self._connection = self._connection, None
        if connection is not None and not self._memory:
            with contextlib.suppress(SQLAlchemyError, sqlite3.Error):
                connection.invalidate()
                connection.close()


def _commit(connection: Connection, batch: Sequence[Asked]) -> list[Outcome]:
    """One transaction, past SQLAlchemy, whose own way costs more than what happens inside."""
    raw = driver(connection)
    raw.execute("BEGIN IMMEDIATE")
    try:
        outcomes = _outcomes(connection, batch)
        raw.execute("COMMIT")
    except BaseException:
        if raw.in_transaction:
            raw.execute("ROLLBACK")
        raise
    return outcomes


def _outcomes(connection: Connection, batch: Sequence[Asked]) -> list[Outcome]:
    """What becomes of each. A work may run twice: see `Database.write`.

    Savepoints only once one of several has failed: a statement is a turn of the interpreter's lock.
    """
    try:
        return [_inside(connection, asked.work) for asked in batch]
    except Exception:
        if len(batch) == 1:
            raise
    raw = driver(connection)
    if raw.in_transaction:
        raw.execute("ROLLBACK")
    raw.execute("BEGIN IMMEDIATE")
    return [_apart(connection, asked.work) for asked in batch]


def _inside(connection: Connection, work: Work[Any]) -> Outcome:
    """Run `work`. After one that ended the transaction, as a full disk does, nothing may follow."""
    outcome = Outcome(work(connection), None)
    if not driver(connection).in_transaction:
        raise sqlite3.OperationalError("the transaction ended before its time")
    return outcome


def _apart(connection: Connection, work: Work[Any]) -> Outcome:
    """Run `work` behind a savepoint: what it wrote stays only if it does not raise."""
    raw = driver(connection)
    raw.execute("SAVEPOINT work")
    try:
        outcome = Outcome(work(connection), None)
    except Exception as failure:  # noqa: BLE001 - told to whoever asked
        raw.execute("ROLLBACK TO work")
        outcome = Outcome(None, failure)
    raw.execute("RELEASE work")
    return outcome


def _tell_all(batch: Sequence[Asked], outcomes: Sequence[Outcome]) -> None:
    told = list(zip(batch, outcomes, strict=True))
    for loop in {asked.future.get_loop() for asked in batch}:
        with contextlib.suppress(RuntimeError):  # it is closed: nobody waits there
            loop.call_soon_threadsafe(_tell, loop, told)


def _tell(loop: asyncio.AbstractEventLoop, told: Sequence[tuple[Asked, Outcome]]) -> None:
    for asked, outcome in told:
        if asked.future.get_loop() is loop:
            asked.tell(outcome)
