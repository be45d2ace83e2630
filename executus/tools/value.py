"""What a tool returned, as text: bounded in size, depth and number of values."""

import json
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import sha256
from types import ModuleType

from pydantic import BaseModel, JsonValue

from executus.digest import digest
from executus.images import OUTPUT_BYTES
from executus.sanitize import MAX_DEPTH, Capped, cap_text, clean_json, clean_text, cut

MAX_VALUES = 500_000
"""Values in one result. Counted, because shared references can make a small object endless."""
CHUNK = 1_000_000
"""Characters encoded at once, so that a long text is not copied as a whole."""
NOTHING = "done"
"""What the model reads when a tool returned None."""
STREAM = (Iterator, AsyncIterator, Awaitable)


class NotAResult(Exception):
    """A tool returned something that is not data; the message says what to return."""


def result_text(value: object) -> str:
    """A returned value as the model reads it: a text as it is, anything else as compact JSON.

    Raises:
        NotAResult: for what has no text form, or no end.
    """
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value
    data = _bytes(value)
    if data is not None:
        return _binary(data)
    plain = _Plain().of(value, 0)
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def cap_result(text: str, limit: int, note: str = "", json_limit: int = OUTPUT_BYTES) -> Capped:
    """The same as `sanitize.cap_text`, in constant memory however long the text is."""
    if len(text) <= max(CHUNK, limit):
        return cap_text(text, limit, note, json_limit)
    hasher, total, head, tail = sha256(), 0, b"", b""
    for start in range(0, len(text), CHUNK):
        data = clean_text(text[start : start + CHUNK]).encode("utf-8")
        hasher.update(data)
        total += len(data)
        head = head or data[:limit]
        tail = (tail + data)[-limit:]
    return cut(
        head,
        tail,
        total=total,
        name=hasher.hexdigest()[:32],
        limit=limit,
        note=note,
        json_limit=json_limit,
    )


def _bytes(value: object) -> bytes | None:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)  # pyright: ignore[reportUnknownArgumentType]
    return None


def _binary(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return f"<{len(data)} bytes that are not text; sha256 {digest(data)}>"


class _Plain:
    """Turns a value into JSON, counting what it meets."""

    def __init__(self) -> None:
        self._met = 0

    def of(self, value: object, depth: int) -> JsonValue:  # noqa: PLR0911 - one line per kind
        self._met += 1
        if self._met > MAX_VALUES:
            raise NotAResult(f"returned more than {MAX_VALUES:,} values: return fewer, or a text")
        if isinstance(value, Enum):
            return self.of(value.value, depth + 1)
        if value is None or isinstance(value, bool | str | int | float):
            return clean_json(value)
        data = _bytes(value)
        if data is not None:
            return clean_text(_binary(data))
        if isinstance(value, STREAM):
            kind = type(value).__name__  # pyright: ignore[reportUnknownArgumentType]
            raise NotAResult(f"returned a {kind}, which is not data: return a text or a list")
        if depth >= MAX_DEPTH:
            return f"<nested deeper than {MAX_DEPTH} levels>"
        if isinstance(value, Mapping):
            items: Mapping[object, object] = value  # pyright: ignore[reportUnknownVariableType]
            return {self._key(k): self.of(v, depth + 1) for k, v in items.items()}
        if isinstance(value, Sequence):
            values: Sequence[object] = value  # pyright: ignore[reportUnknownVariableType]
            return [self.of(item, depth + 1) for item in values]
        return self._object(value, depth)

    def _object(self, value: object, depth: int) -> JsonValue:
        if isinstance(value, BaseModel):
            return self.of(value.model_dump(mode="python", warnings=False), depth + 1)
        if is_dataclass(value) and not isinstance(value, type):
            return self.of({f.name: getattr(value, f.name) for f in fields(value)}, depth + 1)
        if isinstance(value, AbstractSet):
            values: AbstractSet[object] = value  # pyright: ignore[reportUnknownVariableType]
            items = [self.of(item, depth + 1) for item in values]
            # A set's own order differs from process to process; equal results must be equal texts.
            return sorted(items, key=json.dumps)
        return _words(value)

    @staticmethod
    def _key(key: object) -> str:
        if isinstance(key, str):
            return clean_text(key)
        text = clean_json(key) if key is None or isinstance(key, int | float) else _words(key)
        return text if isinstance(text, str) else json.dumps(text)


def _words(value: object) -> str:
    """A date, a path, a decimal: whatever says of itself what it is."""
    kind = type(value)
    mute = kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__
    if mute or callable(value) or isinstance(value, ModuleType):
        msg = (
            f"returned a {kind.__name__}, which has no text form: return a text, numbers, lists,"
            " mappings, a dataclass or a pydantic model"
        )
        raise NotAResult(msg)
    return clean_text(str(value))
