"""`executus tools`: what an agent of this host may name in its `tools`."""

import asyncio
import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from executus.activities.host import Host
from executus.activities.human import ask_human
from executus.cli import exit as codes
from executus.cli.compose import app_option, compose, load_app
from executus.errors import ToolError
from executus.mcp.listing import Listing
from executus.mcp.names import LAST_WORDS, Reference
from executus.plan import ToolDef
from executus.sanitize import clean_line
from executus.settings import load_settings
from executus.tools.tool import RESERVED

MCP_LOGGER = "executus.mcp"
WIDTH = 32
"""Columns of a name, where it fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One name, or what is wrong with it."""

    name: str
    """As an agent writes it."""
    source: str
    """Where it is from."""
    effect: str = ""
    """What calling it again would mean; empty: a whole server."""
    model_name: str = ""
    """As the model sees it, where that is another name."""
    description: str = ""
    """For the model, on one line."""
    problem: str = ""
    """Why it cannot be used now."""

    def __str__(self) -> str:
        if self.problem:
            return f"{self.name:{WIDTH}}  PROBLEM {self.problem}"
        shown = f"  as {self.model_name}" if self.model_name else ""
        return f"{self.name:{WIDTH}}  {self.effect or 'all its tools':13}  {self.source}{shown}"


class Logged(logging.Handler):
    """What a pool logs of servers that end: the list says it, and their last words with it."""

    def __init__(self) -> None:
        super().__init__()
        self._messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See base class."""
        self._messages.append(record.getMessage())

    @contextmanager
    def instead_of_stderr(self, name: str) -> Generator[None]:
        """Take what is logged below `name`."""
        logger = logging.getLogger(name)
        before = logger.propagate
        logger.propagate = False
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.propagate = before

    def last_words(self, server: str) -> str:
        """What a server said on stderr before it ended; meant for its host, so in no run."""
        for message in self._messages:
            if message.startswith(f"MCP server {server} "):
                _, mark, words = message.partition(LAST_WORDS)
                return f"{mark}{words}"
        return ""


@click.command()
@click.option("--mcp", "ask", is_flag=True, help="Ask the MCP servers for their tools.")
@app_option
@click.option("--json", "as_json", is_flag=True, help="One name a line, as JSON.")
def tools(*, ask: bool, app: str | None, as_json: bool) -> int:
    """List what an agent may name in its `tools`: with effect and source.

    Without --mcp no server is started or asked: `mcp:<server>` stands for all of its tools. Exits
    with 1 when a server does not answer or one of its tools cannot be used.
    """
    settings = load_settings()
    found = load_app(app, settings) if app is not None else compose(settings)
    host = found.plugin.host  # nothing of it was opened, so there is nothing to close
    lines = _own(host)
    lines += asyncio.run(_asked(host)) if ask else [_whole(host, name) for name in host.mcp.servers]
    for line in lines:
        click.echo(json.dumps(_filled(line), ensure_ascii=False) if as_json else str(line))
    return codes.FAILED if any(line.problem for line in lines) else codes.OK


def _own(host: Host) -> list[Line]:
    size = host.defaults.tool_result_bytes
    functions = [tool.definition(size) for tool in host.tools]
    return [
        _tool(tool.name, tool, "executus" if tool.name in RESERVED else "function")
        for tool in (*functions, ask_human(size))
    ]


async def _asked(host: Host) -> list[Line]:
    """The tools of every server, as it offers them now."""
    names = list(host.mcp.servers)
    logged = Logged()
    with logged.instead_of_stderr(MCP_LOGGER):
        async with host.mcp.serving():
            answers = await asyncio.gather(
                *(host.mcp.listing(name) for name in names), return_exceptions=True
            )
    lines: list[Line] = []
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, Listing):
            lines += _listed(host, name, answer)
        elif isinstance(answer, ToolError):
            words = logged.last_words(name)
            lines.append(_whole(host, name, problem=f"{answer}{words}"))
        else:
            raise answer
    return lines


def _listed(host: Host, server: str, listing: Listing) -> list[Line]:
    source = _source(host, server)
    found = [
        _tool(str(Reference(server, name)), tool, source) for name, tool in listing.tools.items()
    ]
    return found + [
        Line(name=str(Reference(server, name)), source=source, problem=problem)
        for name, problem in listing.problems.items()
    ]


def _whole(host: Host, server: str, *, problem: str = "") -> Line:
    return Line(name=str(Reference(server, None)), source=_source(host, server), problem=problem)


def _source(host: Host, name: str) -> str:
    server = host.mcp.servers[name]
    where = server.url or Path(server.command or "").name
    return f"MCP server {name} ({where})"


def _tool(name: str, tool: ToolDef, source: str) -> Line:
    return Line(
        name=name,
        source=source,
        effect=tool.effect,
        model_name=tool.name if tool.name != name else "",
        description=clean_line(tool.description, 200),
    )


def _filled(line: Line) -> dict[str, str]:
    return {key: value for key, value in asdict(line).items() if value}
