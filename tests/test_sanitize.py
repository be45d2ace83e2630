"""Lines for people: what is quick to see needs no look at each character."""

from hypothesis import given
from hypothesis import strategies as st

from executus.sanitize import clean_line, clean_text

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
