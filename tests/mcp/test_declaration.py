"""What a host may declare, and what an agent and a model call it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from executus.errors import ConfigError, MissingExtra
from executus.mcp import McpServer
from executus.mcp.names import model_names, reference
from executus.mcp.source import McpSource
from executus.models.registry import Models
from executus.plugin import ExecutusPlugin
from executus.tools import Caller, tool

FITS = re.compile(r"^[A-Za-z0-9_-]{1,64}$")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "either `command`"),
        ({"command": "x", "url": "http://h/mcp"}, "either `command`"),
        ({"url": "http://h/mcp", "env": {"A": "b"}}, "`env` needs a `command`"),
        ({"command": "x", "headers": {"A": "b"}}, "`headers` needs a `url`"),
        ({"url": "ftp://h/mcp"}, r"http\(s\)"),
        ({"url": "http://me:word@h/mcp"}, "must not hold a secret"),
        ({"url": "https://h/${KEY}/mcp"}, "must not hold a secret"),
        ({"url": "http://h/mcp", "headers": {"A b": "c"}}, "no name of an HTTP header"),
        ({"url": "http://h/mcp", "headers": {"A": "c\r\nB: d"}}, "no name of an HTTP header"),
        ({"command": "x", "networks": ("10.0.0.0/8",)}, "`networks` needs a `url`"),
        ({"url": "https://h/mcp", "networks": ("10.0.0.1/8",)}, "is not a network"),
        ({"url": "http://h/mcp", "headers": {"A": "${B}"}}, "needs https"),
        ({"url": "http://8.8.8.8/mcp", "headers": {"A": "${B}"}}, "needs https"),
        ({"command": "x", "inherit": ("A-B",)}, "no name of an environment variable"),
        ({"command": "x", "inherit": ("A",), "env": {"A": "b"}}, "both in"),
        ({"command": "x", "args": ("a\0b",)}, "NUL"),
        ({"command": "x", "callers": "ann"}, "collection"),
        ({"command": "x", "colour": "red"}, "colour"),
    ],
)
def test_a_declaration_that_cannot_work_says_why(fields, problem):
    with pytest.raises(ValidationError, match=problem):
        McpServer(name="files", **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://h/mcp"},
        {"url": "http://localhost:80/mcp"},
        {"url": "http://[::1]/mcp"},
        {"url": "http://10.1.2.3/mcp"},
        {"url": "http://h/mcp", "networks": ("10.0.0.0/8",)},
    ],
)
def test_a_secret_may_go_where_nobody_listens(fields):
    assert McpServer(name="files", headers={"A": "${B}"}, **fields).variables == {"B"}


@pytest.mark.parametrize("name", ["", "a__b", "a_", "_a", "a b", "a/b", "agent", "skill", "x" * 33])
def test_a_servers_name_must_be_told_apart_from_its_tools(name):
    with pytest.raises(ValidationError):
        McpServer(name=name, command="x")


def test_two_servers_of_one_name_are_refused():
    one = McpServer(name="files", command="x")
    with pytest.raises(ConfigError, match="two MCP servers are called `files`"):
        ExecutusPlugin(models=Models({}), mcp=[one, one])


def test_a_function_that_looks_like_a_servers_tool_is_refused():
    @tool(name="files__read")
    def read() -> str:
        """Read."""
        return ""

    with pytest.raises(ConfigError, match="files__read"):
        ExecutusPlugin(models=Models({}), tools=[read], mcp=[McpServer(name="files", command="x")])


def test_without_the_extra_the_error_has_the_install_line(monkeypatch):
    monkeypatch.setattr("executus.plugin.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"executus\[mcp\]"):
        ExecutusPlugin(models=Models({}), mcp=[McpServer(name="files", command="x")])
    ExecutusPlugin(models=Models({}))


def test_what_stands_for_a_secret_is_known():
    server = McpServer(
        name="a",
        command="x",
        inherit=("PATH", "MY_TOKEN"),
        env={"URL": "https://${USER}:${WORD}@db", "MODE": "fast"},
    )
    assert server.variables == {"MY_TOKEN", "USER", "WORD"}


def test_who_may_know_of_a_server():
    servers = [
        McpServer(name="all", command="x", visibility="public"),
        McpServer(name="anns", command="x", callers=["ann"]),
        McpServer(name="teams", command="x", callers=lambda caller: caller.tenant_id == "t"),
    ]
    source = McpSource(servers)
    assert list(source.visible(Caller("ann"), "private")) == ["all", "anns"]
    assert list(source.visible(Caller("bob", tenant_id="t"), "private")) == ["all", "teams"]
    assert list(source.visible(Caller("ann"), "shared")) == ["all"]


def test_references_are_parsed():
    assert reference("mcp:files") == ("files", None)
    assert reference("mcp:files/a/b") == ("files", "a/b")
    assert reference("files") is None


def test_a_name_that_fits_is_kept_and_those_that_fall_together_are_marked_all():
    names = model_names("s", ["read", "a.b", "a/b", "a_b", "x" * 80])
    assert names["read"] == "s__read"
    marked = [names[tool] for tool in ("a.b", "a/b", "a_b")]
    assert len(set(marked)) == 3
    assert all(re.fullmatch(r"s__a_b_[0-9a-f]{8}", name) for name in marked)
    assert names == model_names("s", ["x" * 80, "a_b", "a/b", "a.b", "read"])


@given(st.lists(st.text(min_size=1, max_size=90), unique=True, max_size=12))
def test_models_accept_every_name_and_no_two_are_one(tools):
    names = model_names("server", tools)
    assert all(FITS.fullmatch(name) for name in names.values())
    assert len(set(names.values())) == len(tools)
