"""What servers say they offer is checked, cleaned and bounded."""

import pytest
from mcp_types import Tool, ToolAnnotations

from executus.mcp import McpServer
from executus.mcp.listing import MAX_DESCRIPTION, MAX_SCHEMA, MAX_TOOLS, read_listing

OBJECT = {"type": "object", "properties": {}}


def server(**options) -> McpServer:
    return McpServer(name="s", command="x", **options)


def offered(name: str = "t", schema: dict | None = None, **fields) -> Tool:
    return Tool(name=name, input_schema=OBJECT if schema is None else schema, **fields)


def only(tool: Tool, **options):
    listing = read_listing(server(**options), [tool])
    assert listing.problems == {}
    return listing.tools[tool.name]


def test_a_tool_becomes_a_definition():
    schema = {"type": "object", "properties": {"a": {"type": "integer", "pattern": "(x+)+$"}}}
    options = {"timeout": 5, "task_queue": "q", "attempts": 7, "requires_approval": True}
    tool = only(offered(description="Do it.", schema=schema), **options)
    assert tool.requires_approval
    assert (tool.name, tool.description, tool.source) == ("s__t", "Do it.", "mcp:s/t")
    assert (tool.timeout, tool.task_queue, tool.attempts) == (5, "q", 7)
    assert (tool.effect, tool.secret_arguments) == ("once", True)
    assert tool.parameters == schema


HINTS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, destructive_hint=False)


@pytest.mark.parametrize(
    ("hints", "options", "effect"),
    [
        (HINTS, {}, "once"),
        (HINTS, {"trust_annotations": True}, "pure"),
        (ToolAnnotations(idempotent_hint=True), {"trust_annotations": True}, "idempotent"),
        (ToolAnnotations(destructive_hint=False), {"trust_annotations": True}, "once"),
        (None, {"trust_annotations": True}, "once"),
        (None, {"effects": {"t": "pure"}}, "pure"),
        (HINTS, {"trust_annotations": True, "effects": {"t": "once"}}, "once"),
    ],
)
def test_annotations_never_widen_what_the_host_did_not_trust(hints, options, effect):
    assert only(offered(annotations=hints), **options).effect == effect


def test_a_description_is_cleaned_of_what_nobody_sees_and_cut():
    hidden = "Read\u200b a \u202efile\u2066.\x1b[31m\U000e0041\U000e0042\ud800 Now\nthen"
    assert only(offered(description=hidden)).description == "Read  a  file . [31m    Now\nthen"
    long = only(offered(description="x" * 100_000)).description
    assert len(long) <= MAX_DESCRIPTION
    assert "bytes cut" in long


def test_prose_in_a_schema_is_cleaned_and_values_are_not():
    schema = {
        "type": "object",
        "properties": {
            "a": {
                "description": "a\u200bb",
                "enum": ["x\u200by"],
                "anyOf": [{"title": "c\u202ed"}],
            },
        },
    }
    properties = only(offered(schema=schema)).parameters["properties"]
    assert properties["a"] == {
        "description": "a b",
        "enum": ["x\u200by"],
        "anyOf": [{"title": "c d"}],
    }


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "string"}, "not of type object"),
        ({"type": "object", "anyOf": []}, "`anyOf` at the top"),
        ({"type": "object", "properties": {"a b": {}}}, "'a b' has a name"),
        ({"type": "object", "properties": {"a": {"type": "nonsense"}}}, "nonsense"),
        ({"type": "object", "description": "x" * MAX_SCHEMA}, "bytes; limit 32,768"),
    ],
)
def test_a_schema_that_a_provider_would_refuse_costs_the_tool_and_not_the_run(schema, problem):
    listing = read_listing(server(), [offered("bad", schema), offered("good")])
    assert list(listing.tools) == ["good"]
    assert problem in listing.problems["bad"]


def test_names_that_cannot_be_shown_and_second_ones_are_left_out():
    listing = read_listing(
        server(), [offered("a\u202eb"), offered("x" * 300), offered("c"), offered("c")]
    )
    assert list(listing.tools) == ["c"]
    assert listing.problems["c"] == "listed twice: the first is used"
    assert len(listing.problems) == 3


def test_a_server_has_at_most_so_many_tools():
    listing = read_listing(server(), [offered(f"t{n}") for n in range(MAX_TOOLS + 5)])
    assert len(listing.tools) == MAX_TOOLS
    assert len(listing.problems) == 5


def test_an_effect_for_a_tool_that_is_not_there_is_told():
    listing = read_listing(server(effects={"gone": "pure"}), [offered()])
    assert "does not offer it" in listing.problems["gone"]


def test_the_digest_is_of_what_the_model_is_shown():
    assert only(offered(description="a")).digest == only(offered(description="a")).digest
    assert only(offered(description="a")).digest != only(offered(description="b")).digest
    changed = offered(schema={"type": "object", "properties": {"a": {}}})
    assert only(offered()).digest != only(changed).digest
