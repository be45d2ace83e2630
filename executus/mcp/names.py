"""What an agent calls an MCP tool, and what the model calls it. Pure."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from executus.digest import digest

PREFIX = "mcp:"
"""Begins a name in an agent's `tools` that means an MCP server."""
MAX_NAME = 64
"""What OpenAI and Anthropic both accept."""
MARK = 8
"""Hex digits that tell apart what would have one name."""
LAST_WORDS = "; its last words: "
"""In a log, before what a server said on stderr when it ended."""
UNFIT = re.compile(r"[^A-Za-z0-9_-]")


class Reference(NamedTuple):
    """A parsed `mcp:<server>` or `mcp:<server>/<tool>`."""

    server: str
    """The host's name for it."""
    tool: str | None
    """The server's name for it; None = all of its tools."""

    def __str__(self) -> str:
        return PREFIX + self.server + ("" if self.tool is None else f"/{self.tool}")


def reference(name: str) -> Reference | None:
    """The MCP server or tool that an agent's `name` means; None when it means neither."""
    if not name.startswith(PREFIX):
        return None
    server, slash, tool = name.removeprefix(PREFIX).partition("/")
    return Reference(server, tool if slash else None)


def model_names(server: str, tools: Sequence[str]) -> Mapping[str, str]:
    """What the model calls each of a server's tools: unique, `^[A-Za-z0-9_-]{1,64}$`.

    A name that fits is kept. Of those that would be one, every one gets a mark made of its own
    name, so that what one tool is called does not depend on the order of the others.
    """
    plain = {tool: f"{server}__{UNFIT.sub('_', tool)}" for tool in tools}
    count = Counter(plain.values())
    return {
        tool: name if len(name) <= MAX_NAME and count[name] == 1 else _marked(name, tool)
        for tool, name in plain.items()
    }


def _marked(name: str, tool: str) -> str:
    return f"{name[: MAX_NAME - MARK - 1]}_{digest(tool.encode('utf-8', 'replace'))[:MARK]}"
