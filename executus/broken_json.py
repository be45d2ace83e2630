"""Hide secrets by key name in text that is no JSON any more: cut, or never quite written as such.

A parser sees nothing in it, so it is read token by token: whatever stands behind a tell-tale key is
hidden to the end of its value, or of the text. It errs on the side of hiding. Pure and linear.
"""

import json
import re
from collections.abc import Callable, Sequence

from pydantic import JsonValue

Hide = Callable[[JsonValue], JsonValue]
"""A redactor's `value`."""

TOKEN = re.compile(
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+'  # a string; a cut one goes to the end
    r"|(?<=[:,{\[\s])(?>'[^'\\]*+(?:\\.[^'\\]*+)*+'?+)(?=\s*+(?:[:,}\]]|$))"  # Python's, not prose
    r"|[{}\[\],:]"
    r"""|[^\s"{}\[\],:]+""",
    re.DOTALL,
)
PROBE = "value"
"""A text that is no secret by its shape: what hides it is the name of its key."""


def hide_in_broken(text: str, hide: Hide) -> str:
    """`text` with the values hidden that `hide` hides by the names of their keys."""
    tokens = list(TOKEN.finditer(text))
    pieces: list[str] = []
    done, at = 0, 1
    while at < len(tokens):
        key = _key(tokens[at - 1].group()) if tokens[at].group() == ":" else None
        if key is None or hide({key: PROBE}) == {key: PROBE}:
            at += 1
            continue
        after = _end(tokens, at + 1)
        if after > at + 1:
            begin, end = tokens[at + 1].start(), tokens[after - 1].end()
            end = len(text) if after == len(tokens) else end  # a cut escape is no token of its own
            pieces += [text[done:begin], _stand_in(key, text[begin:end], hide)]
            done = end
        at = after + 1
    return "".join([*pieces, text[done:]])


def _key(token: str) -> str | None:
    """The name that a token is, if it may be one: quoted in either way, or bare."""
    if token in {"{", "}", "[", "]", ",", ":"}:
        return None
    if token[0] != '"':
        return token.strip("'")
    try:
        name: object = json.loads(token, strict=False)
    except ValueError:  # escapes that JSON does not know
        return token.strip('"')
    return name if isinstance(name, str) else None


def _end(tokens: Sequence[re.Match[str]], at: int) -> int:
    """Index of the token behind the value that begins at `at`."""
    depth = 0
    while at < len(tokens):
        mark = tokens[at].group()
        if mark in {"}", "]"} or (mark == "," and not depth):
            if not depth:
                return at
            depth -= 1
        elif mark in {"{", "["}:
            depth += 1
        at += 1
    return at


def _stand_in(key: str, value: str, hide: Hide) -> str:
    """What stands for a value: itself where `hide` lets it stand (a count), else its length."""
    try:
        read: JsonValue = json.loads(value)
    except (ValueError, RecursionError):
        read = value
    hidden = hide({key: read})
    if hidden == {key: read}:
        return value
    shown = hidden[key] if isinstance(hidden, dict) and key in hidden else hide(value)
    return json.dumps(shown, ensure_ascii=False)
