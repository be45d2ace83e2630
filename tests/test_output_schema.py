"""Schemas of results: from Python types, checked before anything is paid, and back to the type."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from executus import Reason, RunnableAgent, Status
from executus.errors import ConfigError, RunError, UserError
from executus.json_schema import ENDLESS, use_problem, value_problem
from executus.jsontext import ArgumentsError
from executus.output_schema import answer_value, schema_of
from executus.result import RunResult
from executus.submit import SUBMIT, submit_tool, submitted

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Cat(BaseModel):
    kind: Literal["cat"]
    title: str = Field("Tom", examples=["Tom"])


class Dog(BaseModel):
    kind: Literal["dog"]
    age: int | None = None


class Owner(BaseModel):
    """Who has it."""

    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    since: date
    seen: Cat = Field(description="last seen")


class Tree(BaseModel):
    children: "list[Tree]"


def test_every_field_of_a_type_is_required_and_no_other_is_allowed() -> None:
    schema = schema_of(Owner)
    assert (schema["required"], schema["additionalProperties"]) == (["pet", "since", "seen"], False)
    dog: Any = schema["$defs"]["Dog"]  # type: ignore[index, call-overload]
    assert (dog["required"], dog["additionalProperties"]) == (["kind", "age"], False)
    cat: Any = schema["$defs"]["Cat"]  # type: ignore[index, call-overload]
    assert cat["properties"]["title"] == {"type": "string"}, "a field may be called title"
    fields: Any = schema["properties"]
    assert {"$ref": "#/$defs/Dog"} in fields["pet"]["anyOf"]
    assert "discriminator" not in fields["pet"]
    seen = {"anyOf": [{"$ref": "#/$defs/Cat"}], "description": "last seen"}
    assert fields["seen"] == seen


def test_what_matches_the_schema_is_a_value_of_the_type() -> None:
    value = {
        "pet": {"kind": "dog", "age": None},
        "since": "2020-02-02",
        "seen": {"kind": "cat", "title": "x"},
    }
    assert value_problem(value, schema_of(Owner)) is None
    assert result(structured=value).parsed(Owner).since == date(2020, 2, 2)


def test_a_recursive_type_has_its_object_at_the_root() -> None:
    schema = schema_of(Tree)
    assert schema["type"] == "object"
    assert use_problem(schema) is None
    assert value_problem({"children": [{"children": []}]}, schema) is None
    assert value_problem({"children": [{}]}, schema) is not None


def test_a_type_that_allows_more_still_does() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        a: int

    assert schema_of(Open)["additionalProperties"] is True
    assert schema_of(dict[str, int])["additionalProperties"] == {"type": "integer"}


def test_an_agent_takes_a_type_for_its_schema_and_keeps_it_as_data() -> None:
    agent = RunnableAgent(name="a", output_schema=Tree)
    assert agent.output_schema == schema_of(Tree)
    assert RunnableAgent.model_validate_json(agent.model_dump_json()) == agent
    assert RunnableAgent(name="a", output_schema=list[int]).output_schema == {
        "type": "array",
        "items": {"type": "integer"},
    }


def test_a_type_without_a_schema_is_named() -> None:
    class Odd:
        pass

    with pytest.raises(ConfigError, match=r"output_schema: no JSON schema of .*Odd"):
        RunnableAgent(name="a", output_schema=Odd)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "nonsense"}, "$.type"),
        ({"properties": {"a": {"$ref": "http://evil/x"}}}, "$.properties.a.$ref: 'http://evil/x'"),
        ({"$ref": "#/$defs/a"}, "nothing is fetched"),
        ({"pattern": "("}, "$.pattern"),
        ({"$ref": "#"}, ENDLESS),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, ENDLESS),
    ],
)
def test_a_schema_that_nothing_can_be_checked_against_says_where(schema: Any, why: str) -> None:
    assert why in str(use_problem(schema))


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}},
        {"const": {"$ref": "nowhere"}},
        {"$anchor": "here", "items": {"$ref": "#here"}},
        {"$id": "http://a/b", "items": {"$ref": "http://a/b#/$defs/q"}, "$defs": {"q": {}}},
    ],
)
def test_a_schema_that_only_looks_odd_is_fine(schema: Any) -> None:
    assert use_problem(schema) is None


def test_a_schema_nested_beyond_python_is_refused_and_not_a_crash() -> None:
    schema: dict[str, Any] = {}
    inner = schema
    for _ in range(5_000):
        inner["items"] = inner = {}
    assert use_problem(schema) == ENDLESS


# -- submit ----------------------------------------------------------------------------------------


def test_an_object_is_the_arguments_of_submit_and_another_value_is_one_of_them() -> None:
    tree = schema_of(Tree)
    assert (submit_tool(tree).name, submit_tool(tree).parameters) == (SUBMIT, tree)
    many = schema_of(list[Cat])
    tool = submit_tool(many)
    assert value_problem({"value": [{"kind": "cat", "title": "x"}]}, tool.parameters) is None
    assert value_problem({"value": [{"kind": "dog"}]}, tool.parameters) is not None
    assert submitted('{"value": [1]}', many) == [1]
    assert submitted('{"children": []}', tree) == {"children": []}
    with pytest.raises(ArgumentsError, match="the one argument `value`"):
        submitted('{"values": [1]}', many)


@pytest.mark.parametrize("text", ["NaN", '{"a": 1, "a": 2}', "[" * 70 + "]" * 70, "", "1 2"])
def test_an_answer_is_read_strictly(text: str) -> None:
    with pytest.raises(ArgumentsError):
        answer_value(text)


def test_what_no_store_takes_is_cleaned_out_of_a_result() -> None:
    bad = r'{"a": "x\u0000"}'
    assert answer_value(bad) == submitted(bad, {"type": "object"}) == {"a": "x\ufffd"}


# -- the typed result ------------------------------------------------------------------------------


def result(**fields: Any) -> RunResult:
    given = {"status": Status.OK, "reason": Reason.ANSWER, **fields}
    return RunResult(run_id="r", started_at=NOW, ended_at=NOW, **given)


@dataclass
class Point:
    x: int


def test_a_result_is_parsed_into_any_type() -> None:
    assert result(structured={"x": 1}).parsed(Point) == Point(1)
    assert result(structured=[1, 2]).parsed(tuple[int, int]) == (1, 2)


def test_what_is_not_that_type_says_where() -> None:
    class Even(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def even(cls, n: int) -> int:
            if n % 2:
                raise ValueError("odd")
            return n

    with pytest.raises(UserError, match="run r is no Even: n: Value error, odd"):
        result(structured={"n": 1}).parsed(Even)
    with pytest.raises(UserError, match="no Point"):
        result().parsed(Point)


def test_a_run_that_did_not_end_well_raises_its_own_outcome() -> None:
    bad = result(status=Status.ERROR, reason=Reason.INVALID_OUTPUT, error="not JSON")
    with pytest.raises(RunError) as caught:
        bad.parsed(Point)
    assert (caught.value.status, caught.value.reason) == (Status.ERROR, Reason.INVALID_OUTPUT)
