"""Request bodies as bytes: each message is encoded once per worker, a call joins what is kept.

A body goes to the SDK's own `post(content=...)`. The SDK still does authentication, connections,
error statuses and event parsing; what it is kept from is walking and encoding the whole
conversation again before each call. The bytes are those that its own encoder would make.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import JsonValue

from executus.errors import ModelError
from executus.message import Message, ThinkingPart
from executus.models.provider import WireMessage
from executus.models.wire import Caller, Json, WireFormat

Encode = Callable[[Message], Sequence[Json]]
"""A message as elements of a format's list."""


def dump(value: Mapping[str, JsonValue], caller: Caller) -> bytes:
    """`value` as JSON.

    Raises:
        ModelError: `request_rejected`, when it is not JSON (a lone surrogate, NaN).
    """
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        kind = type(error).__name__
    message = f"{caller.provider}: the request cannot be encoded as JSON ({kind})"
    raise ModelError(message, fault="request_rejected", sent=False)


def pieces(
    message: WireMessage, form: WireFormat, encode: Encode, to: Caller, reader: str
) -> tuple[bytes, ...]:
    """The message in a format, as `encode` makes it: in order, each element as JSON.

    Without reasoning that is not the `reader`'s own: a signature of another model, or content that
    another account encrypted, is refused with the whole request, as often as it is sent.

    Raises:
        ModelError: it cannot be encoded, or `encode` found something the API does not take.
    """
    kept = message.wire.get(form)
    if kept is not None:
        return kept
    # Most messages are the same for all of a format, and kept once.
    key = f"{form} {reader}" if _is_for_some(message.message, form) else form
    kept = message.wire.get(key)
    if kept is None:
        shown = _without_foreign(message.message, reader)
        kept = message.wire[key] = tuple(dump(item, to) for item in encode(shown))
    return kept


def _is_for_some(message: Message, form: WireFormat) -> bool:
    return any(
        isinstance(part, ThinkingPart) and part.provider == form and part.origin
        for part in message.parts
    )


def _without_foreign(message: Message, reader: str) -> Message:
    parts = tuple(
        part
        for part in message.parts
        if not isinstance(part, ThinkingPart) or part.origin in ("", reader)
    )
    return message if len(parts) == len(message.parts) else Message(role=message.role, parts=parts)


def all_pieces(
    messages: Sequence[WireMessage], form: WireFormat, encode: Encode, to: Caller, reader: str
) -> list[bytes]:
    """The pieces of all messages, in order; see `pieces`.

    Raises:
        ModelError: see `pieces`.
    """
    found: list[bytes] = []
    for message in messages:  # once per message of a long run and call: no call for what is kept
        found += message.wire.get(form) or pieces(message, form, encode, to, reader)
    return found


def content(head: Json, last: str, elements: Iterable[bytes], caller: Caller) -> bytes:
    """A whole body: `head`, which is not empty, and after it the field `last` with a list.

    Raises:
        ModelError: `head` cannot be encoded.
    """
    start = b'%b,"%b":[' % (dump(head, caller)[:-1], last.encode())
    # Set in front and behind, so that a body of megabytes is copied once.
    parts = list(elements) or [b""]
    parts[0] = start + parts[0]
    parts[-1] += b"]}"
    return b",".join(parts)
