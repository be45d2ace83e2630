"""Make a model's reply safe to record: cleaned, bounded, its calls named once.

Everything here happens before the activity returns: what Temporal cannot encode or take would be
retried with another paid call (reliability.md F5).
"""

from collections.abc import Iterable

from executus.data import json_bytes
from executus.message import (
    MAX_ARGUMENTS,
    MAX_NAME,
    Message,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from executus.sanitize import cap_text, clean_text, fits_json

MAX_REPLY_BYTES = 900_000
"""JSON bytes of a whole reply."""
MAX_REPLY_TEXT = 262_144
"""Bytes of the reply's text: a longer answer is cut, with its digest."""
MAX_PART_BYTES = 786_432
"""JSON bytes of one text, or of one call's arguments: so the first of them is always kept."""


def tidy(reply: Message, seen: Iterable[str]) -> Message:
    """The reply with safe text, unique call ids and a bounded size.

    `seen` are the call ids of the run so far. Arguments over the limit are cut, so they no longer
    parse and the model is told. Reasoning goes first when the whole is too large, then calls.
    """
    used = set(seen)
    parts = [_tidy_part(part, used) for part in reply.parts]
    message = Message(role="assistant", parts=_room_for(parts))
    if json_bytes(message) <= MAX_REPLY_BYTES:
        return message
    parts = [part for part in message.parts if not isinstance(part, ThinkingPart)]
    kept: list[Part] = []
    room = MAX_REPLY_BYTES
    for part in parts:
        room -= json_bytes(part)
        if room > 0:
            kept.append(part)
    return Message(role="assistant", parts=tuple(kept))


def _room_for(parts: list[Part]) -> tuple[Part, ...]:
    """Share the room for text among the text parts, first come first served."""
    room, kept = MAX_REPLY_TEXT, list[Part]()
    for part in parts:
        if not isinstance(part, TextPart):
            kept.append(part)
        elif room > 0 and part.text:
            text = cap_text(part.text, room, json_limit=MAX_PART_BYTES).text
            room -= len(text.encode())
            kept.append(TextPart(text=text))
    return tuple(kept)


def _tidy_part(part: Part, used: set[str]) -> Part:
    match part:
        case TextPart():
            return TextPart(text=cap_text(part.text, MAX_REPLY_TEXT).text)
        case ToolCallPart():
            return _tidy_call(part, used)
        case ThinkingPart():
            return part.model_copy(
                update={"text": clean_text(part.text), "data": clean_text(part.data)}
            )
        case _:
            return part


def _tidy_call(call: ToolCallPart, used: set[str]) -> ToolCallPart:
    """A call whose id is new in the run: answers are matched by id, and providers repeat them."""
    base = clean_text(call.id)[:200] or "call"
    name, number = base, 1
    while name in used:
        number += 1
        name = f"{base}-{number}"
    used.add(name)
    return ToolCallPart(
        id=name,
        name=clean_text(call.name)[:MAX_NAME],
        arguments=_bounded(clean_text(call.arguments)),
        data=call.data if name == call.id else "",
    )


def _bounded(arguments: str) -> str:
    """Arguments within both bounds; what had to be cut is no longer JSON."""
    text = arguments[:MAX_ARGUMENTS]
    while not fits_json(text, MAX_PART_BYTES):
        text = text[: len(text) // 2] + "…"
    return text
