"""One tool of an MCP server, as a function like any other tool's."""

import contextvars
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from executus.digest import digest
from executus.errors import ToolError
from executus.jsontext import parse_object
from executus.mcp.failures import McpDown, McpRefused, SchemaChanged, SessionGone, said
from executus.mcp.pool import Pool
from executus.mcp.result import text_of
from executus.mcp.server import McpServer
from executus.redact import Redactor
from executus.tools import ToolContext

if TYPE_CHECKING:
    from executus.mcp.connection import Connection


@dataclass(frozen=True, slots=True)
class Remote:
    """A tool that a run was granted."""

    pool: Pool
    """Where its connection is."""
    server: McpServer
    """Who has it."""
    tool: str
    """What the server calls it."""
    name: str
    """What the model calls it."""
    granted: str
    """Digest of the definition that the model was shown."""

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> str:
        """Call it; the result as text.

        Raises:
            ToolError: it brought no result; the class says whether it may have run.
        """
        try:
            try:
                return await self._attempt(arguments, context)
            except SessionGone:  # a new connection has a new session
                return await self._attempt(arguments, context)
        except (McpDown, McpRefused) as error:
            raise type(error)(f"{error}; nothing ran") from None
        except SchemaChanged:
            text = f"`{self.name}` is not the one this run was granted (its schema changed)"
            raise ToolError(f"{text}; not run") from None

    async def _attempt(self, arguments: dict[str, Any], context: ToolContext) -> str:
        async with self.pool.use(self.server) as connection:
            await self._check(connection)
            key = digest(context.idempotency_key.encode())
            result = await connection.call(
                self.tool, arguments, key=key, progress=Progress(context)
            )
        return await text_of(result, context)

    async def _check(self, connection: "Connection") -> None:
        tools = (await connection.listing(self.server.listing_seconds)).tools
        if self.tool not in tools:
            name = self.server.name
            raise ToolError(f"MCP server `{name}` does not offer `{said(self.tool)}` any more")
        if tools[self.tool].digest != self.granted:
            raise SchemaChanged


class Progress:
    """Hands a server's progress on as heartbeats of the activity that made it."""

    def __init__(self, context: ToolContext) -> None:
        self._context = context
        self._home = contextvars.copy_context()

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        """One notification; the package calls it in a task of the connection."""
        told: dict[str, object] = {"progress": progress, "total": total}
        if message:
            told["message"] = said(self._context.secrets.hide(message))
        self._home.run(self._context.heartbeat, told)


@dataclass(frozen=True, slots=True)
class Anything:
    """Arguments that the server checks, and not we: its schema may hold patterns without end."""

    context: tuple[str, ...] = ("context",)
    """See `Takes`."""
    schema: dict[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """Not asked for: what the model was shown is in the run's plan."""

    def parse(self, text: str, *, secret: bool, redactor: Redactor) -> dict[str, Any]:
        """The model's text as one JSON object.

        Raises:
            ArgumentsError: it is none.
        """
        del secret, redactor
        return {"arguments": parse_object(text)}
