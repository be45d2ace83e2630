import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executus.message import ToolResultPart
from executus.redact import Redactor
from executus.summary import summarize_call, summarize_result

REDACTOR = Redactor()
KEY = "sk-" + "a" * 30


def summary(arguments: Any, *, name: str = "read_file", secret: bool = False) -> str:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return summarize_call(name, text, secret, REDACTOR)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"path": "a.txt"}, 'read_file(path="a.txt")'),
        ({"path": "a.txt", "lines": [1, 2]}, 'read_file(path="a.txt", lines=[1, 2])'),
        ({}, "read_file()"),
        ("", "read_file()"),
        ({"a": None, "b": True, "c": 1.5}, "read_file(a=null, b=true, c=1.5)"),
        ({"a": "x\ny"}, 'read_file(a="x\\ny")'),
        ({"api_key": "hunter2"}, 'read_file(api_key="[redacted 7]")'),
        ({"a": {"password": "hunter2"}}, 'read_file(a={"password": "[redacted 7]"})'),
        ({"note": f"use {KEY} now"}, 'read_file(note="use [redacted 33] now")'),
        ({"url": "https://x.example/a?b=hunter2"}, 'read_file(url="https://x.example/…")'),
        ({"url": "https://me:hunter2@x.example"}, 'read_file(url="https://x.example")'),
        ("[1]", "read_file(<invalid arguments>)"),
        ("{", "read_file(<invalid arguments>)"),
        ('{"a": ' + "[" * 100_000, "read_file(<invalid arguments>)"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_call_is_one_line_without_secrets(arguments: Any, line: str) -> None:
    assert summary(arguments) == line


def test_secret_arguments_are_hidden_whole() -> None:
    assert summary({"a": "hunter2"}, secret=True) == "read_file(<hidden>)"
    assert summary({}, secret=True) == "read_file()"


def test_a_secret_is_not_cut_into_something_nobody_recognises() -> None:
    """Values are redacted whole and cut afterwards."""
    line = summary({"note": "x" * 50 + " " + KEY})
    assert "aaa" not in line
    assert "sk-" not in line


def test_a_long_call_stays_within_200_characters() -> None:
    line = summary({f"argument_{i}": "x" * 500 for i in range(100)})
    assert len(line) <= 200
    assert line.endswith("…)")


@settings(max_examples=200, deadline=None)
@given(name=st.text(max_size=200), arguments=st.text(), data=st.dictionaries(st.text(), st.text()))
def test_any_call_is_one_printable_line(name: str, arguments: str, data: dict[str, str]) -> None:
    for text in (arguments, json.dumps(data)):
        line = summarize_call(name, text, False, REDACTOR)
        assert len(line) <= 200
        assert line.isprintable()


def part(text: str = "", **values: Any) -> ToolResultPart:
    return ToolResultPart(call_id="c", name="t", text=text, **values)


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (part("secret content", bytes=14), "ok, 14 bytes"),
        (part("x", bytes=2_150), "ok, 2.1 KB"),
        (part("x" * 4_096, bytes=10_485_760, truncated=True), "ok, 10.0 MB, cut to 4.0 KB"),
        (part("no\nfile", outcome="error"), "error: no file"),
        (part("", outcome="unknown"), "outcome unknown: verify before trying again"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_result_is_one_line(result: ToolResultPart, line: str) -> None:
    assert summarize_result(result) == line


def test_a_long_error_stays_within_200_characters() -> None:
    line = summarize_result(part("x " * 100_000, outcome="error"))
    assert len(line) == 200


def test_importing_the_summary_brings_no_provider_sdk_and_no_temporal() -> None:
    code = (
        "import sys, executus.summary;"
        "bad = {'openai', 'anthropic', 'temporalio', 'sqlalchemy', 'httpx'} & set(sys.modules);"
        "sys.exit(repr(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
