"""Which tools a run gets: those its agent names, of functions and of MCP servers."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from executus.activities.host import Host
from executus.activities.human import ASK_HUMAN
from executus.agent import Visibility
from executus.errors import ConfigError, ToolError
from executus.mcp.listing import Listing
from executus.mcp.names import Reference, reference
from executus.mcp.server import McpServer
from executus.plan import ToolDef
from executus.tools import Caller, UnknownTool


class SourceDown(Exception):
    """A server that the run needs does not answer; the message names it and the way out."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a run gets."""

    tools: tuple[ToolDef, ...]
    """In the order named, each once."""
    missing: tuple[str, ...]
    """Optional servers that do not answer, and so it does without."""


async def granted(
    host: Host,
    names: Sequence[str],
    *,
    caller: Caller,
    visibility: Visibility,
    default_result_bytes: int,
) -> Grant:
    """The tools that `names` mean, for an agent with this audience.

    Raises:
        UnknownTool: one is not there, or hidden from this caller or audience.
        ConfigError: two would have one name, or one cannot be used.
        SourceDown: a server that is not optional does not answer.
    """
    servers = host.mcp.visible(caller, visibility)
    wanted = {name: reference(name) for name in names}
    functions = host.tools.grant(
        [
            name
            for name, found in wanted.items()
            if found is None or found.server not in servers  # hidden looks like not there
        ],
        caller=caller,
        visibility=visibility,
        default_result_bytes=default_result_bytes,
        others=[ASK_HUMAN, *(str(Reference(name, None)) for name in sorted(servers))],
    )
    by_name = {tool.name: [tool] for tool in functions}
    listings = await _listings(host, [servers[found.server] for found in wanted.values() if found])
    tools: dict[str, ToolDef] = {}
    for name, found in wanted.items():
        for tool in _named(found, listings, default_result_bytes) if found else by_name[name]:
            _add(tools, tool)
    missing = tuple(name for name, listing in listings.items() if listing is None)
    return Grant(tuple(tools.values()), missing)


async def _listings(host: Host, servers: Sequence[McpServer]) -> dict[str, Listing | None]:
    """What each server offers now; None for an optional one that does not answer."""
    wanted = {server.name: server for server in servers}
    answers = await asyncio.gather(
        *(host.mcp.listing(name) for name in wanted), return_exceptions=True
    )
    listings: dict[str, Listing | None] = {}
    for server, answer in zip(wanted.values(), answers, strict=True):
        if isinstance(answer, Listing):
            listings[server.name] = answer
        elif not isinstance(answer, ToolError):
            raise answer
        elif server.optional:
            listings[server.name] = None
        else:
            way_out = "start it, or declare it `optional`"
            raise SourceDown(f"{answer}; {way_out}") from None
    return listings


def _named(
    found: Reference, listings: Mapping[str, Listing | None], result_bytes: int
) -> list[ToolDef]:
    """The tools that one name of the agent's means."""
    listing = listings[found.server]
    if listing is None:
        return []
    tools = [
        listing.definition(name, result_bytes)
        for name in listing.tools
        if found.tool in {None, name}
    ]
    if found.tool is None or tools:
        return tools
    if problem := listing.problems.get(found.tool):
        raise ConfigError(f"tool `{found}` cannot be used: {problem}")
    raise UnknownTool([str(found)], [str(Reference(found.server, name)) for name in listing.tools])


def _add(tools: dict[str, ToolDef], tool: ToolDef) -> None:
    other = tools.setdefault(tool.name, tool)
    if other.source != tool.source:
        what = " and ".join(f"`{each.source or each.name}`" for each in (other, tool))
        raise ConfigError(
            f"{what} would both be called `{tool.name}` in this run: name one of them"
        )
