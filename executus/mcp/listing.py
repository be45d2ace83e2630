"""What a server says it offers, as the house takes it: checked, cleaned and bounded.

Every word of it is written by somebody else and goes into prompts: what cannot be seen is taken
out, what is too long is cut, and a schema that a provider would refuse costs the tool, never the
run.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from executus.json_schema import schema_problem
from executus.mcp.names import Reference, model_names
from executus.mcp.server import McpServer
from executus.plan import Effect, ToolDef
from executus.sanitize import cap_text, clean_json, clean_line
from executus.tools.tool import definition_digest

if TYPE_CHECKING:
    from mcp_types import Tool

MAX_TOOLS = 128
"""Tools of one server; what OpenAI takes in one request."""
MAX_TOOL_NAME = 200
"""Characters of the server's own name for a tool."""
MAX_DESCRIPTION = 4_096
"""Bytes of a description."""
MAX_SCHEMA = 32_768
"""Bytes of a schema, as JSON."""
PARAMETER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""A parameter's name, as Anthropic accepts it."""
UNIONS = ("allOf", "anyOf", "oneOf", "not", "enum")
"""Keywords that OpenAI and Anthropic refuse at the top of a schema."""
PROSE = frozenset({"description", "title", "$comment"})
"""Schema keywords whose text is for the model only; all else must stay as the server wants it."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A server's tools."""

    tools: Mapping[str, ToolDef]
    """By the server's own name."""
    problems: Mapping[str, str]
    """What was left out, by the server's own name, and why."""
    result_bytes: int | None = None
    """Bound of a result; None = the run's own."""

    def definition(self, name: str, default_result_bytes: int) -> ToolDef:
        """One tool, for a run whose own bound is `default_result_bytes`."""
        size = self.result_bytes or default_result_bytes
        return self.tools[name].model_copy(update={"result_bytes": size})


def read_listing(server: McpServer, offered: Iterable["Tool"]) -> Listing:
    """The usable tools of what `server` offered."""
    problems: dict[str, str] = {}
    usable: dict[str, tuple[Tool, dict[str, JsonValue]]] = {}
    for tool in offered:
        shown = clean_line(tool.name, MAX_TOOL_NAME)
        schema = clean_json(tool.input_schema)
        assert isinstance(schema, dict)  # noqa: S101 - a mapping stays one; for type checkers
        if len(usable) == MAX_TOOLS:
            problems[shown] = f"more than {MAX_TOOLS} tools: left out"
        elif problem := _name_problem(tool.name, shown) or _schema_problem(schema):
            problems[shown] = problem
        elif shown in usable:
            problems[shown] = "listed twice: the first is used"
        else:
            usable[shown] = (tool, schema)
    for name in server.effects.keys() - usable.keys():
        problems.setdefault(name, "has an entry in `effects`, and the server does not offer it")
    names = model_names(server.name, list(usable))
    tools = {
        name: _definition(server, names[name], tool, schema)
        for name, (tool, schema) in usable.items()
    }
    return Listing(tools, problems, server.result_bytes)


def visible_text(text: str) -> str:
    """`text` without what no reader sees: control, zero-width, direction and tag characters."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)


def _definition(
    server: McpServer, name: str, tool: "Tool", schema: dict[str, JsonValue]
) -> ToolDef:
    description = visible_text(tool.description or tool.title or "").strip()
    description = cap_text(description, MAX_DESCRIPTION).text
    parameters = _readable(schema)
    parameters.setdefault("properties", {})  # OpenAI wants it
    return ToolDef(
        name=name,
        description=description,
        parameters=parameters,
        digest=definition_digest(name, description, parameters),
        effect=_effect(server, tool),
        timeout=server.timeout,
        attempts=server.attempts,
        task_queue=server.task_queue,
        secret_arguments=server.secret_arguments,
        requires_approval=server.requires_approval,
        image_bytes=server.image_bytes,
        source=str(Reference(server.name, tool.name)),
    )


def _effect(server: McpServer, tool: "Tool") -> Effect:
    """What the host says; else hints, if it believes them. They never make a call less careful."""
    if (said := server.effects.get(tool.name)) is not None:
        return said
    hints = tool.annotations if server.trust_annotations else None
    if hints is not None and hints.read_only_hint:
        return "pure"
    return "idempotent" if hints is not None and hints.idempotent_hint else "once"


def _name_problem(name: str, shown: str) -> str | None:
    if not name or name != shown:
        return f"its name is empty, longer than {MAX_TOOL_NAME} characters, or not printable"
    return None


def _schema_problem(schema: dict[str, JsonValue]) -> str | None:
    size = len(json.dumps(schema, ensure_ascii=False).encode())
    if size > MAX_SCHEMA:
        return f"its schema has {size:,} bytes; limit {MAX_SCHEMA:,}"
    if schema.get("type") != "object":
        return "its schema is not of type object"
    if union := next((word for word in UNIONS if word in schema), None):
        return f"its schema has `{union}` at the top, which model providers refuse"
    properties = schema.get("properties", {})
    names = properties if isinstance(properties, dict) else ()
    if odd := next((name for name in names if not PARAMETER.fullmatch(name)), None):
        return f"its parameter {clean_line(odd, 64)!r} has a name that model providers refuse"
    return schema_problem(schema)


def _readable(schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The schema with its prose cleaned; every other value as it is."""
    return {key: _readable_value(key, value) for key, value in schema.items()}


def _readable_value(key: str, value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return visible_text(value) if key in PROSE else value
    if isinstance(value, list):
        return [_readable(item) if isinstance(item, dict) else item for item in value]
    return _readable(value) if isinstance(value, dict) else value
