"""Servers declared in a file."""

import json
from pathlib import Path

import pytest

from executus.errors import ConfigError
from executus.mcp.file import load_servers


def test_a_toml_file_declares_servers_in_its_order(tmp_path: Path):
    path = tmp_path / "mcp.toml"
    path.write_text(
        '[servers.files]\ncommand = "mcp-files"\nargs = ["/srv"]\ninherit = ["PATH"]\n'
        '[servers.web]\nurl = "https://example.com/mcp"\noptional = true\ncallers = ["ann"]\n'
        'headers = { Authorization = "Bearer ${TOKEN}" }\n[servers.web.effects]\nget = "pure"\n'
    )
    files, web = load_servers(path)
    assert (files.name, files.command, files.args, files.inherit) == (
        "files",
        "mcp-files",
        ("/srv",),
        ("PATH",),
    )
    assert (web.url, web.optional, web.effects) == (
        "https://example.com/mcp",
        True,
        {"get": "pure"},
    )
    assert web.variables == {"TOKEN"}


def test_the_files_of_other_programs_are_read(tmp_path: Path):
    path = tmp_path / "mcp.json"
    servers = {"fs": {"type": "stdio", "command": "npx", "args": ["-y", "fs"], "env": {"A": "b"}}}
    path.write_text(json.dumps({"mcpServers": servers}))
    (server,) = load_servers(path)
    assert (server.name, server.command, server.env) == ("fs", "npx", {"A": "b"})


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.toml", "[server.x]\n", "server: unknown; servers stand in the table `servers`"),
        ("a.toml", "servers = 3\n", "must have a table for each server"),
        ("a.toml", "[servers]\nx = 3\n", "must have a table for each server"),
        ("a.toml", "[servers.x]\ncomand = 'y'\n", "server `x`: .*`comand`: unknown field"),
        ("a.toml", "[servers.x]\n", "server `x`: .*either `command`"),
        ("a.toml", "[servers.a__b]\ncommand = 'y'\n", "server `a__b`: `name`"),
        ("a.toml", "= 1\n", "does not parse as toml"),
        ("a.json", "[1]", "not an object of field names and values"),
        ("a.yaml", "servers: {x: {command: [}}", "does not parse as yaml"),
        ("a.ini", "", "names a .toml, .json, .yaml, .yml file"),
        ("a.toml", None, "No such file or directory; EXECUTUS_MCP names a"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, name, text, problem):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=problem):
        load_servers(tmp_path / name)
