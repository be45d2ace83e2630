"""Lines for people, texts within their bounds: what is quick to see needs no second look."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from executus.digest import digest
from executus.sanitize import cap_text, clean_line, clean_text

ANY = st.text(st.characters(exclude_categories=()), max_size=60)


@given(ANY, st.integers(1, 30))
def test_a_line_is_what_looking_at_each_character_gives(text, limit):
    head = clean_text(text[: limit * 4])
    line = " ".join("".join(c if c.isprintable() else " " for c in head).split())
    assert clean_line(text, limit) == (line if len(line) <= limit else line[: limit - 1] + "…")


@given(ANY)
def test_a_line_holds_nothing_that_moves_a_cursor_or_the_text(text):
    assert clean_line(text, 200).isprintable()


def test_spaces_of_any_kind_become_one():
    assert clean_line("a \u00a0\u2028 b\tc", 20) == "a b c"


MARKED = re.compile(
    r"(?s)(?P<head>.*)\n\[\.\.\. \d+ of (?P<total>\d+) bytes cut; sha256 (?P<digest>\w+);"
    r" (?P<at>\d+) \.\.\.\]\n(?P<tail>.*)"
)
MIXED = st.text(st.sampled_from('a"\\\n\x1b\x00é漢🙂'), max_size=3_000)


@given(MIXED, st.integers(256, 2_000), st.integers(400, 4_000))
def test_a_text_is_within_both_of_its_bounds_and_whole_where_it_can_be(text, limit, json_limit):
    made = cap_text(text, limit, "; {at}", json_limit)
    whole = clean_text(text)
    size = len(whole.encode())
    fits = size <= limit and len(to_json(whole)) <= json_limit
    assert (made.truncated, made.bytes, made.digest) == (not fits, size, digest(whole.encode()))
    assert len(made.text.encode()) <= limit
    assert len(to_json(made.text)) <= json_limit
    if fits:
        assert made.text == whole
        return
    found = MARKED.fullmatch(made.text)
    assert found is not None
    assert whole.startswith(found["head"])
    assert whole.endswith(found["tail"])
    assert (found["total"], found["digest"]) == (str(size), made.digest)
    assert int(found["at"]) == len(found["head"].encode())


@pytest.mark.parametrize("unit", ['"', "\\", "\n", "\x1b", '"漢\x01a'])
def test_of_a_text_that_grows_in_json_as_much_is_kept_as_fits(unit):
    text = unit * (500_000 // len(unit.encode()))
    made = cap_text(text, 524_288, json_limit=400_000)
    assert 399_900 < len(to_json(made.text)) <= 400_000
    assert f"of {len(text.encode())} bytes cut" in made.text
