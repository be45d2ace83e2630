import json
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field

from executus.digest import digest
from executus.errors import ConfigError
from executus.tools import ToolContext, tool


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Filter(BaseModel):
    title: str
    limit: int = 3


@dataclass
class Point:
    x: float
    y: float


NO_DEFAULT = ...


@pytest.mark.parametrize(
    ("annotation", "default", "schema"),
    [
        (str, NO_DEFAULT, {"type": "string"}),
        (int, 3, {"type": "integer", "default": 3}),
        (float, NO_DEFAULT, {"type": "number"}),
        (bool, False, {"type": "boolean", "default": False}),
        (Any, NO_DEFAULT, {}),
        (date, NO_DEFAULT, {"type": "string", "format": "date"}),
        (list[str], NO_DEFAULT, {"type": "array", "items": {"type": "string"}}),
        (list[int], [], {"type": "array", "items": {"type": "integer"}, "default": []}),
        (
            dict[str, int],
            NO_DEFAULT,
            {"type": "object", "additionalProperties": {"type": "integer"}},
        ),
        (Literal["a", "b"], NO_DEFAULT, {"type": "string", "enum": ["a", "b"]}),
        (int | None, None, {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}),
        (
            Annotated[int, Field(ge=1, description="how many")],
            NO_DEFAULT,
            {"type": "integer", "minimum": 1, "description": "how many"},
        ),
        (
            int,
            Field(default=2, description="d"),
            {"type": "integer", "default": 2, "description": "d"},
        ),
        (Filter, NO_DEFAULT, {"$ref": "#/$defs/Filter"}),
        (Point, NO_DEFAULT, {"$ref": "#/$defs/Point"}),
        (Colour, Colour.RED, {"$ref": "#/$defs/Colour", "default": "red"}),
        (float, float("inf"), {"type": "number", "default": "inf"}),
        (Any, object(), {}),
    ],
    ids=lambda value: "object" if type(value) is object else repr(value),
)
def test_a_parameter_becomes_its_json_schema(annotation: Any, default: Any, schema: Any) -> None:
    if default is NO_DEFAULT:

        def function(value):
            return value
    else:

        def function(value=default):
            return value

    function.__annotations__["value"] = annotation
    made = tool(function)
    assert made.arguments.schema["properties"] == {"value": schema}
    assert made.arguments.schema.get("required", []) == (["value"] if default is NO_DEFAULT else [])
    assert made.arguments.schema["additionalProperties"] is False
    jsonschema.Draft202012Validator.check_schema(made.arguments.schema)
    json.dumps(made.arguments.schema, allow_nan=False)


def test_titles_are_left_out_but_parameters_called_title_stay() -> None:
    @tool
    def find(title: str, by: Filter) -> None: ...

    schema = find.arguments.schema
    assert list(schema["properties"]) == ["title", "by"]
    assert schema["properties"]["title"] == {"type": "string"}
    assert schema["$defs"]["Filter"]["properties"] == {
        "title": {"type": "string"},
        "limit": {"type": "integer", "default": 3},
    }


def test_the_docstring_describes_the_tool_and_its_parameters() -> None:
    @tool
    def send(to: str, body: str, copies: int = 1) -> None:
        """Send a letter.

        By post: it takes days.

        Args:
            to: Whom it goes to,
                with the street.
            body (str): The text: plain.

        Returns:
            Nothing.
        """

    assert send.description == "Send a letter.\n\nBy post: it takes days."
    properties = send.arguments.schema["properties"]
    assert properties["to"]["description"] == "Whom it goes to, with the street."
    assert properties["body"]["description"] == "The text: plain."
    assert "description" not in properties["copies"]


def test_a_field_description_wins_over_the_docstring() -> None:
    @tool(description="By hand.")
    def send(to: Annotated[str, Field(description="mine")]) -> None:
        """Not this.

        Args:
            to: nor this
        """

    assert send.description == "By hand."
    assert send.arguments.schema["properties"]["to"]["description"] == "mine"


def test_a_context_parameter_is_not_in_the_schema() -> None:
    @tool
    def first(a: int, context: ToolContext) -> None: ...

    @tool
    def second(a: int, run: Annotated[ToolContext | None, "note"] = None) -> None: ...

    assert list(first.arguments.schema["properties"]) == ["a"]
    assert list(second.arguments.schema["properties"]) == ["a"]


def test_a_tool_without_parameters_takes_an_empty_object() -> None:
    @tool
    def now() -> str:
        return "noon"

    assert now.arguments.schema == {
        "additionalProperties": False,
        "properties": {},
        "type": "object",
    }


@pytest.mark.parametrize("name", ["schema", "copy", "model_config", "json", "_hidden", "arg1"])
def test_a_parameter_may_have_any_name(name: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def f(a: int, {name}: str): return {name}", scope)  # noqa: S102 - the name is the case
    made = tool(scope["f"])
    assert list(made.arguments.schema["properties"]) == ["a", name]


def untyped(a, b: int): ...
def star(*args: int): ...
def double_star(**kwargs: int): ...
def positional(a: int, /): ...
def unknown_type(a: "Nowhere"): ...  # noqa: F821 - the case
def no_schema(a: int, b: ToolContext, c: type(pytest)): ...


@pytest.mark.parametrize(
    ("function", "parameter"),
    [
        (untyped, "a"),
        (star, "args"),
        (double_star, "kwargs"),
        (positional, "a"),
        (unknown_type, "a"),
        (no_schema, "c"),
    ],
)
def test_an_unsupported_signature_is_refused_by_name(function: Any, parameter: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tool(function)
    assert function.__name__ in str(caught.value)
    assert repr(parameter) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_generators_are_refused_at_decoration() -> None:
    def numbers():
        yield 1

    async def later():
        yield 1

    for function in (numbers, later):
        with pytest.raises(ConfigError, match="generator"):
            tool(function)


@pytest.mark.parametrize(
    "name", ["", "a b", "ä", "a" * 65, "run_status", "skill_use", "a.b", "a\n"]
)
def test_a_name_no_provider_takes_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="tool name"):
        tool(name=name)(lambda: None)


@pytest.mark.parametrize(
    "options",
    [
        {"effect": "twice"},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"timeout": float("nan")},
        {"attempts": 0},
        {"attempts": 21},
        {"result_bytes": 10},
        {"result_bytes": 10_000_000},
        {"visibility": "all"},
        {"callers": "alice"},
    ],
    ids=repr,
)
def test_an_option_out_of_bounds_is_refused_at_decoration(options: dict[str, Any]) -> None:
    def plain() -> None: ...

    with pytest.raises(ConfigError):
        tool(**options)(plain)


def test_an_async_callers_predicate_is_refused() -> None:
    async def allowed(caller: object) -> bool:
        return False

    with pytest.raises(ConfigError, match="async"):
        tool(name="x", callers=allowed)(lambda: None)


def test_definition_carries_every_option_and_a_digest_of_what_the_model_sees() -> None:
    @tool(
        name="pay",
        effect="idempotent",
        timeout=5.0,
        result_bytes=1_000,
        task_queue="bank",
        attempts=7,
        secret_arguments=True,
    )
    def transfer(amount: int) -> None:
        """Pay."""

    made = transfer.definition(65_536)
    seen = {"name": "pay", "description": "Pay.", "parameters": made.parameters}
    text = json.dumps(seen, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert made.digest == transfer.digest == digest(text.encode())
    assert (made.name, made.effect, made.timeout, made.result_bytes) == (
        "pay",
        "idempotent",
        5,
        1000,
    )
    assert (made.task_queue, made.attempts, made.secret_arguments) == ("bank", 7, True)


def test_the_run_decides_the_result_bound_when_the_tool_does_not() -> None:
    @tool
    def plain() -> None: ...

    assert plain.definition(4_096).result_bytes == 4_096


def test_a_tool_is_still_a_function() -> None:
    @tool
    def add(a: int, b: int = 2) -> int:
        return a + b

    assert add(1) == 3
    assert add.function(1, b=5) == 6


def test_a_bound_method_is_a_tool_without_self() -> None:
    class Desk:
        def __init__(self) -> None:
            self.name = "desk"

        def where(self, room: int) -> str:
            """Where it stands."""
            return f"{self.name} in {room}"

    made = tool(Desk().where)
    assert list(made.arguments.schema["properties"]) == ["room"]
    assert made(room=3) == "desk in 3"
