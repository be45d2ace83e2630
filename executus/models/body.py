"""Request bodies as bytes: each message is encoded once per worker, a call joins what is kept.

A body goes to the SDK's own `post(content=...)`. The SDK still does authentication, connections,
error statuses and event parsing; what it is kept from is walking and encoding the whole
conversation again before each call. The bytes are those that its own encoder would make.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import JsonValue

from executus.errors import ModelError
from executus.message import Message
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


def pieces(message: WireMessage, form: WireFormat, encode: Encode, to: Caller) -> tuple[bytes, ...]:
    """The message in a format, as `encode` makes it: in order, each element as JSON.

    Raises:
        ModelError: it cannot be encoded, or `encode` found something the API does not take.
    """
    kept = message.wire.get(form)
    if kept is None:
        kept = message.wire[form] = tuple(dump(item, to) for item in encode(message.message))
    return kept


def all_pieces(
    messages: Sequence[WireMessage], form: WireFormat, encode: Encode, to: Caller
) -> list[bytes]:
    """The pieces of all messages, in order.

    Raises:
        ModelError: see `pieces`.
    """
    found: list[bytes] = []
    for message in messages:  # once per message of a long run and call: no call for what is kept
        found += message.wire.get(form) or pieces(message, form, encode, to)
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
