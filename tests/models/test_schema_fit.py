"""Who can be held to which schema, and what OpenAI's strict mode takes of it."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, HttpUrl

from executus.models.anthropic_messages import AnthropicMessages
from executus.models.openai_chat import OpenAIChat
from executus.models.openai_responses import OpenAIResponses
from executus.models.registry import Models
from executus.models.schema_fit import holdable, strict_ready
from executus.models.scripted import Scripted
from executus.output_schema import schema_of
from executus.plan import ModelTarget

N: dict[str, Any] = {"type": "integer"}


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


class Line(BaseModel):
    """One line."""

    text: str = Field(description="what it says", max_length=80)
    paid: date | None = None


class Invoice(BaseModel):
    """An invoice."""

    total: int = 0
    kind: Literal["a", "b"] = "a"
    first: Line = Field(description="the first line")
    lines: list[Line]


class Node(BaseModel):
    children: "list[Node]"


@dataclass
class Point:
    x: int


def test_a_models_schema_is_ready_for_strict_mode() -> None:
    assert strict_ready(schema_of(Point))
    assert strict_ready(schema_of(Node)), "recursion is fine there"
    assert not strict_ready(schema_of(Invoice)), "it has maxLength"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "string", "maxLength": 3},
        {"type": "string", "format": "uri"},
        {"type": "array", "items": N, "uniqueItems": True},
        {"$ref": "#/$defs/a", "description": "d"},
    ],
)
def test_keywords_that_strict_mode_refuses_make_it_not_strict(part: Any) -> None:
    assert strict_ready(closed(a=N))
    assert not strict_ready(closed(a=part))


def test_a_url_is_not_strict_because_of_its_format() -> None:
    assert not strict_ready(schema_of(dict[str, HttpUrl]))


@pytest.mark.parametrize(
    ("schema", "holds"),
    [
        (closed(a=N), True),
        (schema_of(Invoice), True),
        ({"type": "object", "properties": {"a": N}}, True),
        (schema_of(Node), False),
        (closed(a={"type": "object", "additionalProperties": N}), False),
        (closed(a={"type": "object"}), False),
        ({**closed(a=N), "additionalProperties": True}, False),
        (closed(a={"type": "array", "prefixItems": [N]}), False),
        ({**closed(enum={"type": "string"}), "not": {}}, False),
    ],
)
def test_anthropic_holds_what_its_subset_does_not_empty(schema: Any, holds: bool) -> None:
    assert holdable(schema) is holds
    assert AnthropicMessages(api_key="k").takes_schema("claude-opus-5-5", schema) is holds


@pytest.mark.parametrize(
    ("provider", "model", "native"),
    [
        (OpenAIResponses(api_key="k"), "gpt-6-luna", True),
        (OpenAIResponses(api_key="k"), "gpt-4o", True),
        (OpenAIResponses(api_key="k"), "gpt-4.1-mini", True),
        (OpenAIResponses(api_key="k"), "gpt-4", False),
        (OpenAIResponses(api_key="k"), "gpt-4-turbo", False),
        (OpenAIResponses(api_key="k"), "ft:gpt-3.5-turbo:org::1", False),
        (OpenAIResponses(api_key="k", base_url="http://elsewhere/v1"), "gpt-6-luna", False),
        (OpenAIChat(api_key="k"), "gpt-6-luna", True),
        (OpenAIChat(api_key="k", base_url="http://elsewhere/v1"), "gpt-6-luna", False),
        (OpenAIChat(api_key="k", base_url="http://e/v1", dialect="openai"), "gpt-6-luna", True),
        (OpenAIChat(api_key="k", base_url="http://e/v1", native_schema=True), "llama", True),
        (OpenAIChat(api_key="k", native_schema=False), "gpt-6-luna", False),
        (AnthropicMessages(api_key="k"), "claude-haiku-5-5", True),
        (AnthropicMessages(api_key="k"), "claude-sonnet-4-5", True),
        (AnthropicMessages(api_key="k"), "claude-3-5-haiku-latest", False),
        (AnthropicMessages(api_key="k"), "claude-sonnet-4-20250514", False),
        (AnthropicMessages(api_key="k"), "anthropic.claude-3-haiku", False),
        (AnthropicMessages(api_key="k", base_url="http://e"), "kimi-k2", False),
    ],
)
def test_native_means_are_used_where_they_are_known_to_work(
    provider: Any, model: str, native: bool
) -> None:
    assert provider.takes_schema(model, closed(a=N)) is native


class Bare:
    """A host's own provider without means for schemas."""

    name = "bare"

    async def complete(self, request: Any, progress: Any) -> Any:
        raise NotImplementedError

    async def close(self) -> None: ...


class Broken(Bare):
    name = "broken"

    def takes_schema(self, model: str, schema: Any) -> bool:
        raise RuntimeError("no idea")


def test_who_does_not_say_and_what_is_no_object_go_by_submit() -> None:
    models = Models({}, providers=[Bare(), Broken(), Scripted({}, name="s")])

    def takes(spec: str, schema: Any) -> bool:
        return models.takes_schema(ModelTarget(spec=spec, context_window=1), schema)

    assert takes("s/m", closed(a=N))
    assert not takes("s/m", {"type": "array", "items": N})
    assert not takes("bare/m", closed(a=N))
    assert not takes("broken/m", closed(a=N))
    assert not takes("gone/m", closed(a=N))
