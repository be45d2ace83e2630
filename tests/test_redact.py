"""Pieces of text decide which expressions are tried: what is hidden must not depend on it."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from executus.redact import SECRET_PATTERNS, Redactor, _flagless

PIECES = [
    *("sk-", "ghp_", "github_pat_", "AKIA", "xoxb-", "eyJ", ".", "-----BEGIN RSA PRIVATE KEY-----"),
    *(
        "Bearer ",
        "basic\t",
        "ba\u017fic ",
        "BEARER ",
        "https://",
        "user:pass",
        "@host",
        "?key=",
        "&sig=",
    ),
    *("&TOKEN=", "?api_\u212aey=", "?api_key=", "A" * 20, "a1B2c3D4e5F6g7H8", "0123456789ABCDEF"),
    *(" ", "\n", "/", "=", "ß"),
]
PAN = r"\d{4}-\d{4}"
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=12).map("".join)


@given(text=texts)
@example(text="".join(PIECES))
@example(text="ba\u017fic " + "A" * 20)  # a long s: it is an s to an expression without case
@example(text="?api_\u212aey=x")
def test_the_pieces_leave_out_no_expression_that_would_match(text: str) -> None:
    everything = re.compile("|".join(f"(?:{p})" for p in _flagless((*SECRET_PATTERNS, PAN))))
    expected = everything.sub(lambda match: f"[redacted {len(match.group())}]", text)
    assert Redactor(patterns=[PAN]).text(text) == expected


def test_a_pattern_of_the_host_applies_to_every_text() -> None:
    assert Redactor(patterns=[PAN]).text("card 1234-5678") == "card [redacted 9]"


def test_a_pattern_that_is_none_is_told_of_when_it_is_given() -> None:
    try:
        Redactor(patterns=["("])
    except re.error:
        return
    raise AssertionError("a wrong pattern was taken")
