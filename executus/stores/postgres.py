"""Transactions on PostgreSQL."""

import asyncio

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from executus.stores.backend import TIMEOUT, T, Work, whole


class PostgresBackend:
    """The async driver, driven by SQLAlchemy's greenlets."""

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
        return await whole(asyncio.ensure_future(self._transact(work, write=write)))

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    async def _transact(self, work: Work[T], *, write: bool) -> T:
        engine = self._engine if write else self._reader
        async with asyncio.timeout(TIMEOUT), engine.begin() as connection:
            return await connection.run_sync(work)
