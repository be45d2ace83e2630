"""Strict reading of a model's JSON: one value or object, or a sentence that says why not.

Pure, and safe in workflow code. Strict because a tool acts on what it is given: Python's parser
would take the last of two equal keys, accept NaN, and fail on depth or digits with a traceback.
"""

import json
import math
from collections import Counter
from typing import NoReturn

from pydantic import JsonValue

from executus.message import MAX_ARGUMENTS
from executus.sanitize import MAX_DEPTH, clean_line

MAX_DIGITS = 1_000
"""Digits of one integer; Python refuses to convert more than 4,300."""


class ArgumentsError(ValueError):
    """The arguments cannot be used; the message is one line for the model."""


def parse_object(text: str) -> dict[str, JsonValue]:
    """The JSON object in `text`; nothing but white space counts as `{}`.

    Raises:
        ArgumentsError: for everything else.
    """
    if not text or text.isspace():
        return {}
    value = parse_value(text)
    if not isinstance(value, dict):
        raise ArgumentsError(f"must be a JSON object, not {_kind(value)}")
    return value


def parse_value(text: str) -> JsonValue:
    """The one JSON value in `text`.

    Raises:
        ArgumentsError: there is none, or one that a tool or a caller could not rely on.
    """
    if len(text) > MAX_ARGUMENTS:
        raise ArgumentsError(f"longer than {MAX_ARGUMENTS:,} characters")
    value = _parsed(text)
    _check(value)
    return value


def _parsed(text: str) -> JsonValue:
    try:
        value: JsonValue = _DECODER.decode(text)
    except json.JSONDecodeError as exc:
        msg = f"not valid JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}"
        raise ArgumentsError(msg) from None
    except RecursionError:
        _too_deep()
    return value


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    value = dict(pairs)
    if len(value) < len(pairs):
        name = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ArgumentsError(f'the key "{clean_line(name, 64)}" stands twice in one object')
    return value


def _constant(name: str) -> NoReturn:
    raise ArgumentsError(f"{name} is not a JSON number")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ArgumentsError("a number is out of range")
    return value


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ArgumentsError(f"an integer has more than {MAX_DIGITS:,} digits")
    return int(text)


def _check(value: JsonValue) -> None:
    """Refuse depth and lone surrogates. Without recursion, so the answer never depends on where."""
    stack: list[tuple[JsonValue, int]] = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, str):
            _check_text(item)
        elif isinstance(item, dict | list):
            if depth > MAX_DEPTH:
                _too_deep()
            if isinstance(item, dict):
                stack += [(key, depth) for key in item]
                item = list(item.values())
            stack += [(child, depth + 1) for child in item]


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ArgumentsError("a string holds half of a surrogate pair") from None


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int
)
"""Made once: `json.loads` with an option makes a decoder for each call."""


def _too_deep() -> NoReturn:
    raise ArgumentsError(f"nested deeper than {MAX_DEPTH} levels") from None


def _kind(value: JsonValue) -> str:
    if isinstance(value, list):
        return "a list"
    return "a string" if isinstance(value, str) else "a number, boolean or null"
