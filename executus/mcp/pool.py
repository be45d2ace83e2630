"""The connections of one worker process to its MCP servers: one each, made at need, closed idle."""

import asyncio
import importlib
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from executus.mcp.server import McpServer
from executus.tools.context import Secrets

if TYPE_CHECKING:
    from executus.mcp.connection import Connection

LOGGERS = ("client", "mcp.client.streamable_http", "mcp.shared.jsonrpc_dispatcher")
"""Where the package logs what servers send."""


class Pool:
    """Connections, shared by all calls; an ended one is replaced at the next call."""

    def __init__(self, secrets: Secrets, environment: Mapping[str, str]) -> None:
        self._secrets = secrets
        self._environment = environment
        self._open: dict[str, Connection] = {}
        self._tasks = set[asyncio.Task[None]]()
        self._timers: dict[Connection, asyncio.TimerHandle] = {}
        self._quiet = _Quiet(secrets)

    def load(self) -> "type[Connection]":
        """Import the package: most of a second, and only for who has a server."""
        module = importlib.import_module("executus.mcp.connection")
        made: type[Connection] = module.Connection
        return made

    @asynccontextmanager
    async def use(self, server: McpServer) -> AsyncGenerator["Connection"]:
        """A connection that is not closed for idleness meanwhile.

        Raises:
            McpDown: the server cannot be reached.
        """
        connection = await self._connection(server)
        connection.in_use += 1
        if timer := self._timers.pop(connection, None):
            timer.cancel()
        try:
            await connection.connected()
            yield connection
        finally:
            connection.in_use -= 1
            if not connection.in_use and connection.ended is None:
                self._timers[connection] = asyncio.get_running_loop().call_later(
                    server.idle_seconds, self._reap, connection
                )

    async def close(self) -> None:
        """End every connection, and wait until each server's program has left."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for connection in self._open.values():
            connection.end("was closed")
        self._open.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._quiet.remove()

    async def _connection(self, server: McpServer) -> "Connection":
        known = self._open.get(server.name)
        if known is not None and known.ended is None:
            return known
        make = await asyncio.to_thread(self.load)  # a worker has done it before its first task
        known = self._open.get(server.name)
        if known is not None and known.ended is None:
            return known  # another call was faster
        self._quiet.add()
        made = make(server, self._secrets, self._environment)
        self._open[server.name] = made
        self._tasks.add(made.task)
        made.task.add_done_callback(self._tasks.discard)
        return made

    def _reap(self, connection: "Connection") -> None:
        self._timers.pop(connection, None)
        if not connection.in_use:
            connection.end("was idle")


class _Quiet(logging.Filter):
    """Takes what servers send out of the package's log records: tracebacks, and known secrets."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        """See base class."""
        record.exc_info = record.exc_text = None
        record.msg, record.args = self._secrets.hide(record.getMessage()), ()
        return True

    def add(self) -> None:
        """Begin; twice is once."""
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self)

    def remove(self) -> None:
        """End."""
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(self)
