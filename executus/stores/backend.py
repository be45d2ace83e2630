"""What runs a transaction: a plain function over a SQLAlchemy connection."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

TIMEOUT = 15.0
"""Seconds a transaction may take on PostgreSQL; SQLite waits as long for its write lock."""

T = TypeVar("T")
Work = Callable[[Connection], T]


class Backend(Protocol):
    """Runs one transaction, and closes."""

    async def transact(self, work: Work[T], *, write: bool) -> T:
        """Run `work` and commit, or roll back when it raises; a cancel waits for either."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


async def whole(future: asyncio.Future[T]) -> T:
    """Await `future`; a cancel goes on only when it is done, so that nothing is torn."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await ended(future)
        raise


async def ended(future: asyncio.Future[T]) -> None:
    """Wait until `future` is done, however, for as long as a transaction may take."""
    await asyncio.wait([future], timeout=TIMEOUT)
    if future.done() and not future.cancelled():
        future.exception()  # seen, or Python complains that nobody looked
