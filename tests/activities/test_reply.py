"""A model's reply is safe to record, whatever the model wrote."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executus.activities.output import check_output
from executus.activities.reply import MAX_REPLY_BYTES, tidy
from executus.data import json_bytes
from executus.json_schema import schema_problem
from executus.jsontext import ArgumentsError, parse_object
from executus.message import MAX_ARGUMENTS, Message, TextPart, ThinkingPart, ToolCallPart


def reply(*parts) -> Message:
    return Message.model_construct(role="assistant", parts=parts, fold=None)


def call(call_id: str, arguments: str = "{}", name: str = "t") -> ToolCallPart:
    return ToolCallPart.model_construct(
        type="tool_call", id=call_id, name=name, arguments=arguments, data="raw"
    )


def test_call_ids_are_unique_in_the_run_and_a_renamed_call_loses_its_raw_item():
    message = tidy(reply(call("a"), call("a"), call("b")), seen=["b"])
    assert [c.id for c in message.tool_calls] == ["a", "a-2", "b-2"]
    assert [c.data for c in message.tool_calls] == ["raw", "", ""]


def test_arguments_over_the_limit_no_longer_parse():
    (made,) = tidy(reply(call("a", '{"x": "' + "y" * 900_000 + '"}')), ()).tool_calls
    assert len(made.arguments) == MAX_ARGUMENTS


def test_a_long_text_is_cut_with_its_digest():
    text = tidy(reply(TextPart.model_construct(type="text", text="x" * 3_000_000)), ()).text
    assert len(text) <= 262_144
    assert "bytes cut" in text


def test_reasoning_goes_first_when_the_whole_is_too_large():
    thinking = ThinkingPart.model_construct(
        type="thinking", text="", provider="p", data="z" * 900_000
    )
    message = tidy(reply(thinking, TextPart(text="kept"), call("a")), ())
    assert message.text == "kept"
    assert len(message.tool_calls) == 1
    assert len(message.model_dump_json()) <= MAX_REPLY_BYTES


@pytest.mark.parametrize("unit", ["漢", "🙂", "\x01", '"'], ids=ascii)
def test_bounds_are_bytes_and_of_calls_that_are_too_large_the_first_is_kept(unit):
    message = tidy(reply(*(call(name, '{"x": "' + unit * 262_000) for name in "abc")), ())
    assert message.tool_calls[0].id == "a"
    assert json_bytes(message) <= MAX_REPLY_BYTES


def test_arguments_that_had_to_be_cut_are_none_even_where_only_space_is_left():
    (made,) = tidy(reply(call("a", "\n" * 140_000 + "\x01" * 120_000)), ()).tool_calls
    with pytest.raises(ArgumentsError):
        parse_object(made.arguments)


def test_a_text_that_grows_in_json_is_cut_and_not_lost():
    message = tidy(reply(TextPart(text="\x01" * 262_000), call("a")), ())
    assert "bytes cut" in message.text
    assert len(message.tool_calls) == 1
    assert json_bytes(message) <= MAX_REPLY_BYTES


ANY_TEXT = st.text(st.characters(codec=None), max_size=50)


@settings(max_examples=300, deadline=None)
@given(
    texts=st.lists(ANY_TEXT, max_size=3),
    calls=st.lists(st.tuples(ANY_TEXT, ANY_TEXT, ANY_TEXT), max_size=4),
    seen=st.lists(ANY_TEXT, max_size=3),
)
def test_any_reply_becomes_valid_json_that_round_trips(texts, calls, seen):
    parts = [TextPart.model_construct(type="text", text=t) for t in texts]
    parts += [call(i, a, n) for i, a, n in calls]
    message = tidy(reply(*parts), seen)
    data = message.model_dump_json()
    assert Message.model_validate_json(data) == message
    ids = [c.id for c in message.tool_calls]
    assert len(set(ids)) == len(ids) == len(calls)
    assert not set(ids) & set(seen)
    assert "\x00" not in message.text


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.mark.parametrize("text", ['{"a": 1}', '```json\n{"a": 1}\n```', ' \n```\n{"a": 1}\n```\n'])
def test_a_valid_answer_is_taken_fence_or_not(text):
    assert check_output(text, SCHEMA) == ({"a": 1}, None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no", "not JSON"),
        ('{"a": "x"}', "$.a"),
        ("{}", "required"),
        ("[" * 100_000, "not JSON"),
        ("9" * 5_000, "not JSON"),
    ],
)
def test_an_invalid_answer_says_why_in_one_line(text, why):
    checked = check_output(text, SCHEMA)
    assert checked.value is None
    assert why in checked.invalid
    assert "\n" not in checked.invalid
    assert len(checked.invalid) <= 500


def test_a_schema_that_is_none_is_named():
    assert schema_problem({"type": "nonsense"}) is not None
    assert schema_problem(SCHEMA) is None
