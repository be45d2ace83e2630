"""Token estimates: nothing that is sent looks free."""

from typing import get_args

import pytest

from executus.estimate import IMAGE_TOKENS, message_tokens, part_tokens, tool_tokens
from executus.message import (
    FilePart,
    ImagePart,
    Message,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)

PARTS = [
    TextPart(text="abc"),
    ImagePart(mime="image/png", data=b"x"),
    FilePart(name="a.pdf", mime="application/pdf", data=b"xyz" * 10),
    ThinkingPart(text="hm", provider="p", data="signed"),
    ToolCallPart(id="1", name="t", arguments="{}"),
    ToolResultPart(call_id="1", name="t", text="ok"),
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.type)
def test_every_kind_of_part_counts(part: Part) -> None:
    assert part_tokens(part) > 0
    assert message_tokens(Message(role="user", parts=(part,))) > part_tokens(part)


def test_no_kind_of_part_is_left_out_above() -> None:
    union, *_ = get_args(Part)
    assert {type(part) for part in PARTS} == set(get_args(union))


def test_an_image_counts_whatever_its_bytes() -> None:
    assert part_tokens(ImagePart(mime="image/png", data=b"x")) == IMAGE_TOKENS


def test_all_of_a_tools_definition_counts():
    bare = tool_tokens("t", "", {})
    assert tool_tokens("t", "word " * 300, {}) >= bare + 500
    assert tool_tokens("t" * 90, "", {}) >= bare + 29
    assert tool_tokens("t", "", {"type": "object", "title": "x" * 900}) >= bare + 300
