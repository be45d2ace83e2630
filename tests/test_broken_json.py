"""Arguments that were cut, or are no JSON: what stands under a secret key does not show."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from executus.redact import Redactor, hide_in_arguments
from executus.stores.redaction import Redaction

HUSH = "\u03a9\u03a8\u03a6"
"""Letters that stand in secrets and nowhere else."""
plain = st.text(alphabet='ab\\"{}[],:\n \u00e9', max_size=6)
secret: st.SearchStrategy[Any] = st.recursive(
    st.text(alphabet=HUSH + '"\\,}{]\n', min_size=1, max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("k"), inner, max_size=2),
    max_leaves=4,
)
names = st.sampled_from(["password", "apiKey", "X-Auth-Token", 'my"secret\u00e9', "max_tokens"])


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    open_part = st.dictionaries(plain, inner, max_size=3)
    secret_part = st.dictionaries(names, secret, max_size=2)
    return st.tuples(open_part, secret_part, open_part).map(
        lambda all_: all_[0] | all_[1] | all_[2]
    )


values: st.SearchStrategy[Any] = st.recursive(
    plain | st.integers() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | objects(inner),
    max_leaves=8,
)


def hidden(text: str) -> str:
    return hide_in_arguments(text, Redactor().value)


@settings(deadline=None, max_examples=40)  # each of them is cut at every place
@given(arguments=objects(values), ascii_only=st.booleans(), wide=st.sampled_from([None, 2]))
@example(arguments={"password": HUSH + "\\"}, ascii_only=False, wide=None)
def test_wherever_arguments_are_cut_a_secret_does_not_show(
    arguments: dict[str, Any], ascii_only: bool, wide: int | None
) -> None:
    whole = json.dumps(arguments, ensure_ascii=ascii_only, indent=wide)
    for cut in range(len(whole) + 1):
        shown = hidden(whole[:cut])
        leaked = [c for c in HUSH if c in shown or f"u{ord(c):04x}" in shown]
        assert not leaked, (whole[:cut], shown)


@settings(deadline=None, max_examples=40)  # each of them is cut at every place
@given(arguments=st.dictionaries(plain, st.recursive(plain | st.integers(), st.lists), max_size=4))
def test_what_holds_no_secret_is_kept_as_it_was_cut(arguments: dict[str, Any]) -> None:
    whole = json.dumps(arguments)
    for cut in range(len(whole) + 1):
        assert hidden(whole[:cut]) == whole[:cut]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"a":"b","password":"hu', '{"a":"b","password":"[redacted 3]"'),
        ('{"password":["hush","x"],"q":"te', '{"password":"[redacted 13]","q":"te'),
        ('{"password":{"a":{"b":"hush"}},"q":[', '{"password":"[redacted 20]","q":['),
        ('{"a":{"token":"hush"},"b":"c', '{"a":{"token":"[redacted 4]"},"b":"c'),
        (
            '{"max_tokens":50,"tokens":"hush","b":"c',
            '{"max_tokens":50,"tokens":"[redacted 4]","b":"c',
        ),
        ('{"password":null,"b":"c', '{"password":null,"b":"c'),
        ('{"pass\\u0077ord":"hush","b', '{"pass\\u0077ord":"[redacted 4]","b'),
        ('{"password" : "hush",}', '{"password" : "[redacted 4]",}'),
        ("{'password': 'hu,sh', 'b': 1}", "{'password': \"[redacted 7]\", 'b': 1}"),
        ("{password: hush, b: 1", '{password: "[redacted 4]", b: 1'),
        ('I don\'t say "password": "hush", ok', 'I don\'t say "password": "[redacted 4]", ok'),
        ('{"password":"hush\\', '{"password":"[redacted 6]"'),
        ('{"password":', '{"password":'),
        ("no JSON at all", "no JSON at all"),
        ("[" * 5_000 + '{"password":"hush', "[" * 5_000 + '{"password":"[redacted 5]"'),
    ],
)
def test_what_is_no_json_is_read_as_far_as_it_goes(text: str, shown: str) -> None:
    assert hidden(text) == shown


def test_the_audit_hides_it_in_arguments_that_were_cut() -> None:
    whole = json.dumps({"password": "hush", "text": "x" * 300_000})
    row = {"calls": [{"arguments": whole[:262_144]}], "arguments": '{"q":"a","api_key":"hush'}
    kept = json.dumps(Redaction().keep("body", row, "redact"))
    assert "hush" not in kept
    assert "[redacted 4]" in kept


def test_a_host_of_its_own_words_hides_by_them() -> None:
    redactor = Redactor(keys=["card-no"])
    assert hide_in_arguments('{"cardNo":"1234', redactor.value) == '{"cardNo":"[redacted 5]"'
