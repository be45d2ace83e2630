"""The MCP servers of a host, as a source of tools."""

import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager

from executus.agent import Visibility
from executus.contracts import ToolInput
from executus.errors import ConfigError
from executus.mcp.failures import SessionGone
from executus.mcp.listing import Listing
from executus.mcp.names import reference
from executus.mcp.pool import Pool
from executus.mcp.remote import Anything, Remote
from executus.mcp.server import McpServer
from executus.tools import Caller, Tool
from executus.tools.context import Secrets


class McpSource:
    """Lists and calls the tools of a host's servers; connects when it must, and not before."""

    def __init__(
        self, servers: Iterable[McpServer] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        """`environment`: what `inherit` and `${NAME}` look into; the process's own by default.

        Raises:
            ConfigError: two servers have one name.
        """
        self.servers: dict[str, McpServer] = {}
        for server in servers:
            if server.name in self.servers:
                raise ConfigError(f"two MCP servers are called `{server.name}`: rename one")
            self.servers[server.name] = server
        self.variables = frozenset(n for s in self.servers.values() for n in s.variables)
        self.written = tuple(pair for s in self.servers.values() for pair in s.written)
        source = os.environ if environment is None else environment
        self._pool = Pool(Secrets(self.variables, source, written=self.written), source)
        self._workers = 0

    def __len__(self) -> int:
        return len(self.servers)

    def load(self) -> None:
        """Import now what connecting needs; nothing without servers. Takes most of a second."""
        if self.servers:
            self._pool.load()

    def visible(self, caller: Caller, visibility: Visibility) -> dict[str, McpServer]:
        """The servers that this caller's agent with this audience may know of, by name."""
        return {n: s for n, s in self.servers.items() if s.admits(caller, visibility)}

    async def listing(self, name: str) -> Listing:
        """The tools of one server, as it offers them now.

        Raises:
            ToolError: it does not answer.
        """
        server = self.servers[name]
        try:
            async with self._pool.use(server) as connection:
                return await connection.listing(0)
        except SessionGone:
            async with self._pool.use(server) as connection:
                return await connection.listing(0)

    def tool(self, name: str, step: ToolInput) -> Tool | None:
        """What to call for `step`; None when this worker does not have its server."""
        wanted = reference(step.source)
        server = self.servers.get(wanted.server) if wanted else None
        if wanted is None or wanted.tool is None or server is None:
            return None
        remote = Remote(self._pool, server, wanted.tool, name, step.schema_digest)
        return Tool(
            function=remote.call,
            name=name,
            description="",
            arguments=Anything(),
            effect=step.effect,
            timeout=server.timeout,
            result_bytes=server.result_bytes,
            visibility=server.visibility,
            task_queue=server.task_queue,
            attempts=step.attempts,
            secret_arguments=server.secret_arguments,
            image_bytes=server.image_bytes,
            digest=step.schema_digest,  # `Remote` compares it with the server's own
        )

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """While a worker runs; the last one to leave closes every connection."""
        self._workers += 1
        try:
            yield
        finally:
            self._workers -= 1
            if not self._workers:
                await self._pool.close()
