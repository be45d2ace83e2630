"""One connection to an MCP server."""

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from mcp import Client, ClientSession, MCPError
from mcp.shared.dispatcher import ProgressFnT
from mcp_types import (
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    InputRequiredResult,
    ServerNotification,
    Tool,
    ToolListChangedNotification,
)
from pydantic import TypeAdapter, ValidationError

from executus.errors import ExecutusError, ToolError, ToolLost
from executus.mcp.failures import McpDown, SessionGone, said, what_failed
from executus.mcp.http import BoundedClient, http
from executus.mcp.listing import MAX_TOOLS, Listing, read_listing
from executus.mcp.names import LAST_WORDS
from executus.mcp.server import VARIABLE, McpServer
from executus.mcp.stdio import Child, stdio
from executus.mcp.wire import NOT_SENT
from executus.tools.context import Secrets

MAX_PAGES = 20
"""Pages of a list of tools."""
SILENCE_SLACK = 30.0
"""Seconds that an answer over HTTP may stay silent beyond a call's own time-out."""
STUCK = 2
"""Times a call's time-out without any answer, after which a server that does not list its tools
either is given up. Once may be a single long call of a server that does one thing at a time."""
KEY = "executus/idempotency-key"
"""Where a call's `_meta` has a key that is the same for each of its attempts."""
RESULT: TypeAdapter[CallToolResult | InputRequiredResult] = TypeAdapter(
    CallToolResult | InputRequiredResult
)

logger = logging.getLogger(__name__)


class Connection:
    """A live connection, and the one task in which the package's task groups live.

    Calls may come from any task of the event loop, many at a time.
    """

    def __init__(self, server: McpServer, secrets: Secrets, environment: Mapping[str, str]) -> None:
        """Begin to connect; `connected` waits for it."""
        self.server = server
        self.in_use = 0
        """Who works with it now; the pool's to count."""
        self.ended: str | None = None
        """Why it can no longer be used."""
        self._secrets = secrets
        self._environment = environment
        self._client: Client | None = None
        self._child: Child | None = None
        self._settled = asyncio.Event()
        self._stop = asyncio.Event()
        self._listing: Listing | None = None
        self._listed_at = float("-inf")
        self._changes = 0
        """Times that what was listed was no longer to be relied on."""
        self._listing_lock = asyncio.Lock()
        self._unanswered: float | None = None
        """When the first request went out that nothing was answered to since, even if given up."""
        # An empty context: it must not live in that of whichever activity came first.
        self.task = asyncio.get_running_loop().create_task(
            self._live(), name=f"mcp {server.name}", context=contextvars.Context()
        )

    async def connected(self) -> None:
        """Wait until it can be used.

        Raises:
            McpDown: it cannot; says why.
        """
        await self._settled.wait()
        if self._client is None:
            raise McpDown(f"MCP server `{self.server.name}` {self.ended}")

    def end(self, why: str) -> None:
        """Use it no more; its task closes it. The first reason counts."""
        self.ended = self.ended or why
        self._stop.set()

    async def listing(self, max_age: float) -> Listing:
        """The server's tools, as read at most `max_age` seconds ago and not changed since.

        Raises:
            ToolError: it does not answer, or not with a list.
        """
        async with self._listing_lock:
            known = self._listing
            old = time.monotonic() - self._listed_at > max_age
            if known is None or old or self._silence > self.server.timeout:
                begun, changes = time.monotonic(), self._changes
                offered = await self._offered()
                known = await asyncio.to_thread(read_listing, self.server, offered)
                self._listing = known
                # Only now: one that fails or is cancelled leaves the known one as old as it is.
                # And a change that was told meanwhile may not be in it.
                self._listed_at = begun if self._changes == changes else float("-inf")
            return known

    def _changed(self) -> None:
        """Rely no more on what is known of the server: list again before the next call."""
        self._changes += 1
        self._listed_at = float("-inf")

    @property
    def _silence(self) -> float:
        """Seconds for which it has owed us an answer."""
        return 0.0 if self._unanswered is None else time.monotonic() - self._unanswered

    @asynccontextmanager
    async def _asking(self) -> AsyncGenerator[None]:
        """Around a request: whatever ends it is an answer, but for who waited no longer."""
        if self._unanswered is None:
            self._unanswered = time.monotonic()
        try:
            yield
        except asyncio.CancelledError:
            raise
        except Exception:
            self._unanswered = None
            raise
        self._unanswered = None

    async def call(
        self, tool: str, arguments: dict[str, Any], *, key: str, progress: ProgressFnT
    ) -> CallToolResult:
        """Call a tool; a cancelled call is cancelled at the server too.

        Raises:
            ToolError: it brought no result; the class says whether it may have run.
        """
        name = self.server.name
        params = CallToolRequestParams(name=tool, arguments=arguments, _meta={KEY: key})
        request = CallToolRequest(params=params)
        try:
            # Not `call_tool`: that checks the result against a schema of the server's, and a
            # pattern in it may take for ever.
            async with self._asking():
                result = await self._session.send_request(
                    request, RESULT, progress_callback=progress
                )
        except MCPError as error:
            raise self._failed(error) from None
        except ValidationError:
            raise ToolLost(f"MCP server `{name}` answered with what is no result") from None
        if isinstance(result, InputRequiredResult):
            raise ToolError(f"MCP server `{name}` wants to ask a person, which no run lets it do")
        return result

    # -- its own task --------------------------------------------------------------------------

    async def _live(self) -> None:
        seconds = self.server.connect_seconds
        timer = asyncio.get_running_loop().call_later(seconds, self._give_up)
        try:
            async with AsyncExitStack() as stack:
                self._client = await stack.enter_async_context(await self._open(stack))
                timer.cancel()
                self._settled.set()
                await self._stop.wait()
        except Exception as error:  # noqa: BLE001 - whatever the transport raised ends it
            self.end(self._why(error))
        finally:
            timer.cancel()
            self.end("was closed")
            if self._client is None:
                self._tell()
            self._settled.set()

    def _give_up(self) -> None:
        """Tell who waits before the rest is cleared away: a program may take seconds to leave."""
        self.end(f"did not answer within {self.server.connect_seconds:g} s")
        self._settled.set()
        self.task.cancel()

    async def _open(self, stack: AsyncExitStack) -> Client:
        server = self.server
        if server.url is not None:
            headers = {name: self._filled(value) for name, value in server.headers.items()}
            silence = server.timeout + SILENCE_SLACK
            client = BoundedClient(server, headers, silence=silence)
            transport = http(server.url, await stack.enter_async_context(client))
        else:
            inherited = {n: self._environment[n] for n in server.inherit if n in self._environment}
            env = inherited | {name: self._filled(value) for name, value in server.env.items()}
            self._child = await Child.start(server, env)
            transport = stdio(self._child, self.end)
        return Client(
            transport,
            client_info=Implementation(name="executus", version="1"),
            message_handler=self._on_message,
            cache=None,
        )

    def _filled(self, text: str) -> str:
        """`text` with the values of the variables it names.

        Raises:
            ToolError: one of them is not set.
        """
        return VARIABLE.sub(lambda match: self._secrets.get(match[1]), text)

    async def _on_message(self, message: ServerNotification | Exception) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._changed()

    def _why(self, error: Exception) -> str:
        """What ended it, in words that are fit for a run."""
        if isinstance(error, ExceptionGroup):
            group = cast("ExceptionGroup[Exception]", error)
            return self._why(group.exceptions[0])
        if isinstance(error, MCPError):
            words = said(self._secrets.hide(error.message))
            return words if error.code == NOT_SENT else f"answered {words}"
        if isinstance(error, ExecutusError):
            return f"cannot be used: {said(self._secrets.hide(str(error)))}"
        return f"broke off ({type(error).__name__})"

    def _tell(self) -> None:
        words = self._child.stderr if self._child is not None else ""
        last = f"{LAST_WORDS}{said(self._secrets.hide(words))}" if words else ""
        logger.warning("MCP server %s %s%s", self.server.name, self.ended, last)

    # -- requests ------------------------------------------------------------------------------

    @property
    def _session(self) -> ClientSession:
        assert self._client is not None  # noqa: S101 - `connected` was awaited
        return self._client.session

    def _failed(self, error: MCPError) -> ToolError:
        """What to raise; after it, nothing that was known of the server is relied on."""
        self._changed()
        failure = what_failed(self.server.name, error.code, self._secrets.hide(error.message))
        if isinstance(failure, SessionGone):
            self.end("lost its session")
        return failure

    async def _offered(self) -> list[Tool]:
        """What it lists now, page by page."""
        assert self._client is not None  # noqa: S101 - `connected` was awaited
        name, found, cursor = self.server.name, list[Tool](), None
        try:
            async with asyncio.timeout(self.server.connect_seconds):
                for _ in range(MAX_PAGES):
                    async with self._asking():
                        page = await self._client.list_tools(cursor=cursor)
                    found += page.tools
                    cursor = page.next_cursor
                    if cursor is None or len(found) > MAX_TOOLS:
                        break
        except TimeoutError:
            if self._silence > STUCK * self.server.timeout:
                self.end("does not answer any more")  # the next call starts it anew
            text = f"did not list its tools within {self.server.connect_seconds:g} s"
            raise McpDown(f"MCP server `{name}` {text}") from None
        except MCPError as error:
            raise self._failed(error) from None
        except ValidationError:
            raise McpDown(f"MCP server `{name}` lists its tools in no known form") from None
        return found
