"""Pieces of text decide which expressions are tried: what is hidden must not depend on it."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from executus.redact import SECRET_PATTERNS, Redactor, _flagless, _stand_in

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
    *("&my-Secret=", "#signature=", "&passWord=", "u:p@", '","', '"'),
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
    expected = everything.sub(_stand_in, text)
    assert Redactor(patterns=[PAN]).text(text) == expected


def test_a_pattern_of_the_host_applies_to_every_text() -> None:
    assert Redactor(patterns=[PAN]).text("card 1234-5678") == "card [redacted 9]"


def test_a_pattern_that_is_none_is_told_of_when_it_is_given() -> None:
    try:
        Redactor(patterns=["("])
    except re.error:
        return
    raise AssertionError("a wrong pattern was taken")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://x/?access_token=hush", "https://x/?access_token=[redacted 4]"),
        (
            "https://x/?a=1&X-Amz-Signature=hush&b=2",
            "https://x/?a=1&X-Amz-Signature=[redacted 4]&b=2",
        ),
        ("https://x/?apikey=hush", "https://x/?apikey=[redacted 4]"),
        ("https://x/?client_secret=hush", "https://x/?client_secret=[redacted 4]"),
        ("https://x/?PASSWORD=hush", "https://x/?PASSWORD=[redacted 4]"),
        ("https://x/#id_token=hush", "https://x/#id_token=[redacted 4]"),
        ("https://x/?max_tokens=5&q=key", "https://x/?max_tokens=5&q=key"),
        ("https://hush@x/p", "https://[redacted 4]@x/p"),
        ("https://:hush@x/p", "https://[redacted 5]@x/p"),
        ("db://u:p@hush@x/p", "db://[redacted 8]@x/p"),
        ("https://x/@someone, a@b.c", "https://x/@someone, a@b.c"),
        # A URL ends where a string of JSON does.
        (
            '{"u":"https://x/?key=hush","v":"http://x","w":"a@b"}',
            '{"u":"https://x/?key=[redacted 4]","v":"http://x","w":"a@b"}',
        ),
    ],
)
def test_secrets_in_a_url_are_hidden_and_the_rest_is_not(text: str, shown: str) -> None:
    assert Redactor().text(text) == shown
    assert Redactor().text(shown) == shown, "what is hidden already stays as it is"
    own = Redactor(patterns=[r"(['`])hush\1", r"(?P<name>x)y"])
    assert own.text(f"{text} 'hush'") == f"{shown} [redacted 6]"


@pytest.mark.parametrize(
    "key",
    [
        *("accessKey", "aws-access-key", "privateKey", "SSHPrivateKey", "sessionId", "sessionID"),
        *("apiKey", "API-Key", "clientSecret", "card_no", "cardNo", "authToken", "tokenizer"),
    ],
)
def test_a_key_is_known_however_its_words_are_joined(key: str) -> None:
    redactor = Redactor(keys=["card-no"])
    assert redactor.is_secret(key)
    assert redactor.value({key: "hush", "n": 1}) == {key: "[redacted 4]", "n": 1}


@pytest.mark.parametrize("key", ["input_tokens", "maxTokens", "tokens", "access_tokens"])
def test_under_the_name_of_a_count_numbers_are_shown_and_texts_are_not(key: str) -> None:
    value = {key: [1, 2.5, None, "hush", {"cached": 3, "value": "hush"}]}
    shown = [1, 2.5, None, "[redacted 4]", {"cached": 3, "value": "[redacted 4]"}]
    assert Redactor().value(value) == {key: shown}
    assert Redactor().value({key: 7}) == {key: 7}
    assert Redactor().value({key: "hush"}) == {key: "[redacted 4]"}
    assert not Redactor().is_secret(key)
