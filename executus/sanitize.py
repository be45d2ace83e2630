"""Make any text or value safe for JSON, Temporal payloads, SQLite and PostgreSQL, and bounded.

Measured (reliability.md F5, F6, F13): a lone surrogate cannot be encoded by the pydantic converter
and, as an activity result, is retried for ever; PostgreSQL refuses NUL in text and NaN in JSON; a
payload over 2 MiB hangs the workflow. So everything that comes from outside passes here, in the
activity, before it is returned.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel, JsonValue

from executus.data import json_bytes
from executus.digest import digest

MAX_DEPTH = 64
"""Levels of nesting kept; deeper values become text. Python's own recursion fails near 1,000."""
MAX_INT_BITS = 4_096
"""Larger integers become text: Python refuses to print those over 4,300 digits."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
ESCAPED = 6
"""Bytes in JSON of the widest character: a control character is written as an escape."""
SLACK = 16
"""Bytes for the numbers in a mark."""
CUT = "\n[... {cut} of {total} bytes cut; sha256 {digest}{note} ...]\n"


class Capped(NamedTuple):
    """A text within its bound, and what is known of the whole."""

    text: str
    """The whole, or its head and tail with a mark between."""
    bytes: int
    """UTF-8 size of the whole."""
    digest: str
    """`executus.digest.digest` of the whole."""
    truncated: bool
    """Whether anything was cut."""


def clean_text(text: str) -> str:
    """Replace what cannot be stored everywhere: lone surrogates and NUL become U+FFFD."""
    if "\x00" in text:
        text = text.replace("\x00", REPLACEMENT)
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def clean_line(text: str, limit: int) -> str:
    """One line of at most `limit` characters for people: no controls, no escapes, no bidi marks."""
    head = text[: limit * 4]
    if not head.isprintable():  # rare, and looked at by the character: a fifth of a replay's time
        head = "".join(c if c.isprintable() else " " for c in clean_text(head))
    line = " ".join(head.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def visible_text(text: str) -> str:
    """The same with JSON's escape for every character that nobody sees.

    For what a person decides on: marks of direction show another order than is meant, and terminals
    obey control characters.
    """
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def fits_json(text: str, limit: int | None) -> bool:
    """Whether a clean `text` takes at most `limit` bytes in JSON; None = any number."""
    # Nearly always said by the length alone, without making its JSON.
    return limit is None or len(text) * ESCAPED + 2 <= limit or json_bytes(text) <= limit


def cap_text(text: str, limit: int, note: str = "", json_limit: int | None = None) -> Capped:
    """Clean `text` and bound it to `limit` UTF-8 bytes: head, a mark with the digest, tail.

    A character is never split. Three quarters of the room go to the head: most tools put what
    matters first, and errors last. `note` goes into the mark, `{at}` in it becoming the byte where
    the cut begins. `json_limit` bounds what the text takes in a payload as well: a quote has two
    bytes there, a control character six.
    """
    text = clean_text(text)
    data = text.encode("utf-8")
    name = digest(data)
    if len(data) <= limit and fits_json(text, json_limit):
        return Capped(text, len(data), name, truncated=False)
    return cut(
        data, data, total=len(data), name=name, limit=limit, note=note, json_limit=json_limit
    )


def cut(
    head: bytes,
    tail: bytes,
    *,
    total: int,
    name: str,
    limit: int,
    note: str,
    json_limit: int | None = None,
) -> Capped:
    """The first and last bytes of a text with a mark between, as many as both limits allow."""

    def joined(room: int) -> str:
        return _joined(head, tail, total=total, name=name, limit=room, note=note)

    limit = min(limit, total - 1)
    text = joined(limit)
    if json_limit is not None and not fits_json(text, json_limit):
        room = json_limit - SLACK
        limit = bisect_right(range(limit), room, key=lambda n: json_bytes(joined(n))) - 1
        text = joined(max(0, limit))
    return Capped(text, total, name, truncated=True)


def _joined(head: bytes, tail: bytes, *, total: int, name: str, limit: int, note: str) -> str:
    marked = CUT.format(cut=total - limit, total=total, digest=name, note=note)
    room = max(0, limit - len(marked.encode("utf-8")) - SLACK)
    first = head[: room * 3 // 4].decode("utf-8", "ignore")
    last = tail[len(tail) - room // 4 :].decode("utf-8", "ignore") if room >= 4 else ""  # noqa: PLR2004
    marked = marked.replace("{at}", str(len(first.encode("utf-8"))))
    return first + marked + last


def clean_json(value: object, depth: int = 0) -> JsonValue:  # noqa: PLR0911 - one line per kind
    """Turn any Python value into JSON that every store and converter accepts.

    NaN and infinities become text, as do huge integers, bytes that are not UTF-8, unknown objects
    and anything nested deeper than 64 levels.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int):
        return int(value) if value.bit_length() <= MAX_INT_BITS else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray):
        return clean_text(bytes(value).decode("utf-8", "replace"))
    if depth >= MAX_DEPTH:
        return f"<nested deeper than {MAX_DEPTH} levels>"
    if isinstance(value, BaseModel):
        return clean_json(value.model_dump(mode="python"), depth + 1)
    if isinstance(value, Mapping):
        items: Mapping[object, object] = value  # pyright: ignore[reportUnknownVariableType]
        return {clean_text(str(k)): clean_json(v, depth + 1) for k, v in items.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [clean_json(v, depth + 1) for v in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return clean_text(str(value))


def json_text(value: object) -> str:
    """`clean_json` as compact JSON text, keys in their own order."""
    return json.dumps(clean_json(value), ensure_ascii=False, separators=(",", ":"))
