"""One line for people about a tool call or its result. Pure: workflow code imports this module."""

import json

from pydantic import JsonValue

from executus.jsontext import ArgumentsError, parse_object
from executus.message import ToolResultPart
from executus.redact import Redactor
from executus.sanitize import clean_line
from executus.scrub import cut_urls
from executus.step import MAX_SUMMARY

MAX_VALUE = 60
"""Characters shown of one argument."""
MAX_LOOKED_AT = 2_000
"""Characters of one text that are searched for secrets; none beyond them can be shown."""
MAX_ITEMS = 8
"""Arguments of a call, or values of one argument, that are looked at."""
MAX_LEVELS = 4
"""Levels of an argument that are looked at."""
KIB = 1_024
_as_json = json.JSONEncoder(ensure_ascii=False).encode
"""Made once: `json.dumps` with an option makes an encoder for each call."""


def summarize_call(
    tool_name: str, arguments_text: str, secret_arguments: bool, redactor: Redactor
) -> str:
    """A call as `read_file(path="a.txt")`; at most 200 characters.

    Secrets are hidden by key and by pattern, URLs cut to scheme and host. Never raises: arguments
    that are no JSON object show as `read_file(<invalid arguments>)`.
    """
    try:
        arguments = parse_object(arguments_text)
    except ArgumentsError:
        arguments = None
    return call_line(tool_name, arguments, secret_arguments, redactor)


def call_line(
    tool_name: str,
    arguments: dict[str, JsonValue] | None,
    secret_arguments: bool,
    redactor: Redactor,
) -> str:
    """The same for arguments that have been read already; None = they are invalid."""
    name = clean_line(tool_name, 64)
    if arguments is None:
        return f"{name}(<invalid arguments>)"
    if secret_arguments:
        return f"{name}({'<hidden>' if arguments else ''})"
    shown = redactor.value(_head(arguments, 0))
    assert isinstance(shown, dict)  # noqa: S101 - a redacted object is an object; for type checkers
    parts = [f"{clean_line(key, 40)}={_value(value)}" for key, value in shown.items()]
    if len(arguments) > MAX_ITEMS:
        parts.append("…")
    line = f"{name}({', '.join(parts)})"
    return line if len(line) <= MAX_SUMMARY else clean_line(line, MAX_SUMMARY - 1) + ")"


def summarize_result(part: ToolResultPart, *, images: int = 0) -> str:
    """A result as `ok, 2.1 KB, 1 image` or `error: ...`; at most 200 characters.

    Content is shown of errors only, whose words `invoke` has scrubbed: what a tool returned
    belongs to the model and, by its own policy, to the audit.
    """
    match part.outcome:
        case "ok":
            cut = f", cut to {_size(len(part.text.encode()))}" if part.truncated else ""
            seen = f", {images} image{'s' if images > 1 else ''}" if images else ""
            return f"ok, {_size(part.bytes)}{cut}{seen}"
        case "error":
            return clean_line(f"error: {cut_urls(part.text[:MAX_LOOKED_AT])}", MAX_SUMMARY)
        case "unknown":
            return "outcome unknown: verify before trying again"


def _head(value: JsonValue, level: int) -> JsonValue:
    """As much of `value` as could be shown, so that a large one costs no time."""
    if isinstance(value, str):
        return cut_urls(value[:MAX_LOOKED_AT])
    if isinstance(value, dict | list) and level >= MAX_LEVELS:
        return "…"
    if isinstance(value, list):
        return [_head(item, level + 1) for item in value[:MAX_ITEMS]]
    if isinstance(value, dict):
        items = list(value.items())[:MAX_ITEMS]
        return {key: _head(item, level + 1) for key, item in items}
    return value


def _value(value: JsonValue) -> str:
    text = _as_json(value)
    line = clean_line(text, MAX_VALUE)
    return line + '"' if line.endswith("…") and isinstance(value, str) else line


def _size(count: int) -> str:
    if count < KIB:
        return f"{count} bytes"
    if count < KIB * KIB:
        return f"{count / KIB:.1f} KB"
    return f"{count / KIB / KIB:.1f} MB"
