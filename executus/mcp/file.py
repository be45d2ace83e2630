"""Read the servers that a file declares."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from executus.errors import ConfigError
from executus.explain import explain
from executus.fields_file import PARSERS, read_fields
from executus.mcp.server import McpServer
from executus.sanitize import clean_line

TABLE, FOREIGN = "servers", "mcpServers"
"""Our name for the table of servers, and that of other programs, whose files are read too."""
HINT = f"EXECUTUS_MCP names a {', '.join(PARSERS)} file of MCP servers"


def load_servers(path: Path) -> tuple[McpServer, ...]:
    """The servers of one file, in its order.

    Raises:
        ConfigError: it is not there, does not parse, or a server is wrong; names file and server.
    """
    tables = read_fields(path, PARSERS, hint=HINT)
    if set(tables) - {TABLE, FOREIGN}:
        odd = ", ".join(clean_line(name, 64) for name in tables if name not in {TABLE, FOREIGN})
        raise ConfigError(f"{path}: {odd}: unknown; servers stand in the table `{TABLE}`")
    servers = [(name, fields) for table in tables.values() for name, fields in _named(path, table)]
    return tuple(_server(path, name, fields) for name, fields in servers)


def _server(path: Path, name: str, fields: Mapping[str, object]) -> McpServer:
    # What other programs write beside `command` and `url`, which say it already.
    known = {key: value for key, value in fields.items() if key != "type"}
    try:
        return McpServer.model_validate({"name": name, **known})
    except ValidationError as error:
        where = f"{path}: server `{clean_line(name, 64)}`"
        raise ConfigError(f"{where}: {explain(error, McpServer)}") from None


def _named(path: Path, table: object) -> list[tuple[str, Mapping[str, object]]]:
    named = cast("dict[str, Any]", table) if isinstance(table, dict) else {}
    if not named or not all(isinstance(fields, dict) for fields in named.values()):
        raise ConfigError(f"{path}: `{TABLE}` must have a table for each server, under its name")
    return list(named.items())
