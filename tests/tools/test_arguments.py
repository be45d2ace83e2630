import json
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, field_validator

from executus.jsontext import ArgumentsError, parse_object
from executus.message import MAX_ARGUMENTS
from executus.tools import tool

from .calls import call


class Item(BaseModel):
    sku: str
    count: int

    @field_validator("sku")
    @classmethod
    def check(cls, value: str) -> str:
        if value == "explode":
            raise RuntimeError("validator at /srv/app/validate.py broke")
        if not value.startswith("A"):
            raise ValueError(f"no such sku {value}")
        return value


@tool
async def order(
    items: list[Item],
    speed: Literal["slow", "fast"] = "slow",
    limit: Annotated[int, Field(ge=1)] = 5,
    password: str = "",
) -> str:
    return f"{len(items)} {speed} {limit}"


GOOD = {"items": [{"sku": "A1", "count": 1}]}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("", "items: missing"),
        ("  \n ", "items: missing"),
        ("{}", "items: missing"),
        ("[]", "must be a JSON object, not a list"),
        ('"x"', "must be a JSON object, not a string"),
        ("null", "must be a JSON object"),
        ("{", "not valid JSON: Expecting property name"),
        ('{"items": []} x', "not valid JSON: Extra data at line 1, column 15"),
        ('{"items": [], "items": []}', 'the key "items" stands twice'),
        ('{"items": [{"sku": "A", "sku": "A"}]}', 'the key "sku" stands twice'),
        ('{"limit": NaN}', "NaN is not a JSON number"),
        ('{"limit": -Infinity}', "-Infinity is not a JSON number"),
        ('{"limit": 1e999}', "a number is out of range"),
        ('{"limit": ' + "9" * 5_000 + "}", "more than 1,000 digits"),
        ('{"a": ' + "[" * 64 + "]" * 64 + "}", "nested deeper than 64 levels"),
        ('{"a": ' + "[" * 100_000, "nested deeper than 64 levels"),
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
        ('{"\\udc00": 1}', "half of a surrogate pair"),
        ('{"a": "' + "x" * MAX_ARGUMENTS + '"}', "longer than 262,144 characters"),
        ('{"items": 3}', "items: Input should be a valid array"),
        ('{"items": [{"count": 1}]}', "items.0.sku: missing"),
        ('{"items": [{"sku": "B", "count": 1}]}', "items.0.sku: Value error, no such sku B"),
        ('{"items": [], "speed": "warp"}', "speed: Input should be 'slow' or 'fast'"),
        ('{"items": [], "limit": 0}', "limit: Input should be greater than or equal to 1"),
        (
            '{"items": [], "user": "x"}',
            "user: unexpected argument; known arguments: items, speed, limit, password",
        ),
    ],
    ids=lambda value: f"{value[:40]} {len(value)}",
)
async def test_bad_arguments_are_a_one_line_error_naming_field_and_problem(
    arguments: str, problem: str
) -> None:
    part = await call(order, arguments)
    assert part.outcome == "error"
    assert part.text.startswith("invalid arguments for order: ")
    assert problem in part.text
    assert "\n" not in part.text
    assert "pydantic" not in part.text
    assert len(part.text) <= 1_100


async def test_good_arguments_run_the_function() -> None:
    part = await call(order, json.dumps({**GOOD, "speed": "fast", "limit": "7"}))
    assert (part.outcome, part.text) == ("ok", "1 fast 7")


async def test_many_problems_stay_within_a_kilobyte() -> None:
    many = {f"{'x' * 200}{i}": 1 for i in range(500)}
    part = await call(order, json.dumps(many))
    assert len(part.text) <= 1_100
    assert part.text.endswith("; and 495 more; known arguments: items, speed, limit, password")


@tool(secret_arguments=True)
async def login(
    user: Item, code: Annotated[int, Field(ge=1)], kind: Literal["a"] = "a"
) -> None: ...


@pytest.mark.parametrize(
    "arguments",
    [
        {"user": {"sku": "hunter2", "count": 1}, "code": 1},
        {"user": "hunter2", "code": 1},
        {"user": {"sku": "A", "count": "hunter2"}, "code": "hunter2", "kind": "hunter2"},
        {"hunter2": 1},
        {"user": {"sku": "A", "count": 1, "hunter2": 1}, "code": {"hunter2": 1}},
    ],
    ids=repr,
)
async def test_an_error_never_repeats_a_secret_argument(arguments: dict[str, object]) -> None:
    part = await call(login, json.dumps(arguments))
    assert part.outcome == "error"
    assert "hunter2" not in part.text


async def test_a_field_with_a_telltale_name_is_never_repeated() -> None:
    class Login(BaseModel):
        password: str

        @field_validator("password")
        @classmethod
        def check(cls, value: str) -> str:
            raise ValueError(f"{value} is too short")

    @tool
    async def enter(login: Login) -> None: ...

    part = await call(enter, '{"login": {"password": "hunter2"}}')
    assert part.text == "invalid arguments for enter: login.password: is not valid"


async def test_a_validator_that_breaks_is_an_error_result() -> None:
    part = await call(order, '{"items": [{"sku": "explode", "count": 1}]}')
    assert part.outcome == "error"
    assert "RuntimeError" in part.text
    assert "/srv" not in part.text


def test_depth_is_counted_the_same_on_a_deep_stack() -> None:
    """A summary made in a workflow must not depend on how deep the caller stands."""
    text = '{"a": ' + "[" * 500 + "]" * 500 + "}"

    def at(depth: int) -> str:
        if depth:
            return at(depth - 1)
        with pytest.raises(ArgumentsError) as caught:
            parse_object(text)
        return str(caught.value)

    assert at(0) == at(700) == "nested deeper than 64 levels"
