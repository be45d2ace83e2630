"""`executus tools`, and MCP servers of the command line's own host."""

import json
import sys
from pathlib import Path

import pytest

from executus.cli.app import invoke
from tests.mcp.conftest import BARE

SERVERS = f"""
[servers.bare]
command = {json.dumps(sys.executable)}
args = [{json.dumps(str(BARE))}, "ok"]
trust_annotations = true
[servers.bare.effects]
echo = "pure"
"""
SILENT = """
[servers.gone]
url = "http://127.0.0.1:9/mcp"
[servers.dead]
command = "sh"
args = ["-c", "echo no licence >&2; exit 3"]
"""


@pytest.fixture
def servers(tmp_path: Path, monkeypatch) -> Path:
    path = tmp_path / "mcp.toml"
    path.write_text(SERVERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXECUTUS_MCP", str(path))
    return path


def test_what_an_agent_may_name_is_listed_without_asking_servers(servers, capsys):
    assert invoke(["tools"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert {"read_file", "ask_human", "mcp:bare"} <= set(lines)
    assert lines["read_file"].split()[1:] == ["pure", "function"]
    assert lines["read_more"].split()[2] == lines["ask_human"].split()[2] == "executus"
    assert "all its tools" in lines["mcp:bare"]


def test_servers_are_asked_and_the_silent_one_is_named(servers: Path, executus):
    servers.write_text(SERVERS + SILENT)
    code, out, err = executus("tools", "--mcp", "--json")
    assert (code, err) == (1, ""), "each problem is told once, in the list"
    shown = {line["name"]: line for line in map(json.loads, out.splitlines())}
    assert shown["mcp:bare/echo"] == {
        "name": "mcp:bare/echo",
        "source": f"MCP server bare ({Path(sys.executable).name})",
        "effect": "pure",
        "model_name": "bare__echo",
    }
    assert shown["mcp:bare/env"]["effect"] == "once"
    dead = "MCP server `dead` exited with code 3; its last words: no licence"
    assert shown["mcp:dead"]["problem"] == dead
    assert shown["mcp:gone"]["problem"] == "MCP server `gone` cannot be reached (ConnectError)"


def test_a_file_of_servers_that_is_wrong_is_a_wrong_call(servers: Path, capsys):
    servers.write_text("[servers.x]\n")
    assert invoke(["tools"]) == 2
    assert "mcp.toml: server `x`" in capsys.readouterr().err
