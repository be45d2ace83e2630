"""How a call to an MCP server fails, in the house's errors. Loads nothing of the `mcp` package."""

from collections.abc import Mapping

from executus.errors import ToolError, ToolLost, ToolRetry
from executus.mcp.wire import (
    CLOSED,
    GONE,
    LOST,
    MISMATCH,
    NO_JSON,
    NOT_SENT,
    REFUSED,
    TOO_LONG_TEXT,
)
from executus.redact import Redactor
from executus.sanitize import clean_line

BROKEN_OFF = ("Connection closed", "SSE stream")
"""How the package's own words begin when no answer came; servers use that code for their own."""
MAX_WORDS = 500
"""Characters of a server's own words in one of our messages."""


class McpDown(ToolRetry):
    """A server that cannot be asked: nothing ran. The message names it."""


class McpRefused(ToolError):
    """A server that did not take the request: nothing ran."""


class SessionGone(McpDown):
    """The same, and a new connection may cure it."""


class SchemaChanged(ToolError):
    """The tool is not the one that the run was granted: nothing ran."""


FAILURES: Mapping[int, tuple[type[ToolError], str]] = {
    NOT_SENT: (McpDown, "{name} {text}"),
    GONE: (SessionGone, "{name} {text}"),
    REFUSED: (McpRefused, "{name} answered {text}"),
    MISMATCH: (SchemaChanged, "{name}: {text}"),
    LOST: (ToolLost, "{name} brought no answer that can be read: {text}"),
    NO_JSON: (ToolLost, "{name} brought no answer that can be read: {text}"),
}
"""By JSON-RPC code; every other one is the tool's own failure."""


def said(text: str) -> str:
    """A server's own words, fit to be shown."""
    return clean_line(Redactor().text(text[: MAX_WORDS * 8]), MAX_WORDS)


def what_failed(server: str, code: int, words: str) -> ToolError:
    """What to raise for a JSON-RPC error."""
    name, text = f"MCP server `{server}`", said(words)
    if TOO_LONG_TEXT in words:
        return ToolError(f"{name} {TOO_LONG_TEXT}: it ran; ask for less")
    if code == CLOSED and words.startswith(BROKEN_OFF):
        return ToolLost(f"{name} ended during the call")
    make, message = FAILURES.get(code, (ToolError, "{name}: {text}"))
    return make(message.format(name=name, text=text))
