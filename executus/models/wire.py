"""What the three wire formats share: bounds, safe identifiers, parts of a reply."""

import json
import re
from base64 import b64encode
from dataclasses import dataclass
from typing import Literal, TypeGuard

from pydantic import JsonValue

from executus.digest import digest
from executus.errors import ModelError
from executus.jsontext import ArgumentsError, parse_object
from executus.message import (
    MAX_ARGUMENTS,
    MAX_NAME,
    MAX_ORIGIN,
    MAX_TEXT,
    Message,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from executus.models.loose import text
from executus.sanitize import cap_text, clean_line, clean_text
from executus.usage import Usage

Json = dict[str, JsonValue]
"""A fragment of a request's body."""
WireFormat = Literal["anthropic", "openai-responses", "openai-chat"]
"""Key of `WireMessage.wire`, and the `ThinkingPart.provider` that goes back to this format."""

MAX_ID = 40
"""Characters of a tool call id on the wire: the shortest bound of the three formats."""
MAX_TOOL_NAME = 64
"""Likewise of a tool's name."""
MALFORMED = "_malformed_arguments"
"""Key under which arguments that are not a JSON object go back to a format that needs one."""

_ODD = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: for messages, and what must never be in one."""

    provider: str
    """Provider name."""
    secrets: tuple[str, ...]
    """Texts cut out of every error message."""


def unsupported(caller: str, what: str) -> ModelError:
    """The target cannot take this content: the chain moves on without penalty."""
    return ModelError(f"{caller} cannot take {what}", fault="unsupported", sent=False)


def data_url(mime: str, data: bytes) -> str:
    """`data` as a data URL."""
    return f"data:{mime};base64,{base64(data)}"


def base64(data: bytes) -> str:
    """`data` as base64 text."""
    return b64encode(data).decode("ascii")


def wire_id(call_id: str) -> str:
    """A tool call id that every format accepts; the same input gives the same output."""
    if len(call_id) <= MAX_ID and not _ODD.search(call_id):
        return call_id
    return f"{_ODD.sub('_', call_id)[:20]}_{digest(call_id.encode())[:16]}"


def wire_name(name: str) -> str:
    """A called tool's name that every format accepts: a model may have invented any text."""
    return _ODD.sub("_", name)[:MAX_TOOL_NAME] or "unnamed"


def cache_key(key: str) -> str:
    """`key`, or a digest of it when it is longer than OpenAI's 64 characters."""
    return key if len(key) <= 64 else digest(key.encode())  # noqa: PLR2004


FAILED = {"error": "[tool failed] ", "unknown": "[outcome unknown: verify] "}
"""Prefixes for formats that have no flag for a failed result."""


def failed_text(part: ToolResultPart) -> str:
    """A result's text, with a clear prefix when the tool did not do its work."""
    return FAILED.get(part.outcome, "") + part.text


def arguments_object(arguments: str) -> dict[str, JsonValue]:
    """Arguments as the JSON object that a format needs; any other text under one key."""
    try:
        return parse_object(arguments)
    except ArgumentsError:  # also what a lenient parser would read and no encoder would write
        return {MALFORMED: arguments}


def _is_json_object(value: object) -> TypeGuard[dict[str, JsonValue]]:
    return isinstance(value, dict)


def incomplete(caller: Caller, detail: str) -> ModelError:
    """The stream ended without a terminal reason: nothing of it may be used."""
    return ModelError(f"{caller.provider}: {detail}", fault="incomplete_response")


def text_parts(value: str) -> tuple[TextPart, ...]:
    """A text part, or none for an empty text. Bounded, so that it is a valid message."""
    return (TextPart(text=cap_text(value, MAX_TEXT).text),) if value else ()


def origin(caller: Caller, model: str = "") -> str:
    """Who made a reasoning item, and alone can read it: a provider, or one `model` of it."""
    made_by = f"{caller.provider}/{model}" if model else caller.provider
    return clean_line(made_by, MAX_ORIGIN)


def thinking_parts(
    wire: WireFormat, shown: str, item: object, made_by: str
) -> tuple[ThinkingPart, ...]:
    """A reasoning item to be carried back verbatim; dropped when that cannot be done.

    It may be too large, or hold a number that JSON has not.
    """
    try:
        raw = json.dumps(item, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return ()
    if len(raw) > MAX_TEXT:
        return ()
    shown = cap_text(shown, MAX_TEXT).text
    return (ThinkingPart(text=shown, provider=wire, data=clean_text(raw), origin=made_by),)


def compact(value: object) -> str:
    """JSON that a server sent as such, as the text that it stands for."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def arguments_text(given: object) -> str:
    """Arguments as text; some servers send the object itself.

    An empty object is no text: it may stand before the first piece of text.
    """
    return compact(given) if given and _is_json_object(given) else text(given)


def call_part(position: int, call_id: str, name: str, arguments: str) -> ToolCallPart:
    """A tool call; a missing id is made from its position in the reply."""
    return ToolCallPart(
        id=clean_text(call_id)[:256] or f"call_{position}",
        name=clean_text(name)[:MAX_NAME],
        arguments=clean_text(arguments)[:MAX_ARGUMENTS] or "{}",
    )


def verbatim(part: ThinkingPart, wire: WireFormat) -> dict[str, JsonValue] | None:
    """The reasoning item of this format, or None: other formats' items do not go back."""
    if part.provider != wire or not part.data:
        return None
    try:
        value: object = json.loads(part.data)
    except ValueError:
        return None
    return value if _is_json_object(value) else None


def estimated(usage: Usage, sent: int, received: int) -> Usage:
    """`usage`, with an estimate of 4 bytes to a token for each count that a server left out.

    Nothing is sent or said for no tokens, and a cap that counts them would never be reached.
    """
    return usage.model_copy(
        update={
            "input_tokens": usage.input_tokens or -(-sent // 4),
            "output_tokens": usage.output_tokens or -(-received // 4),
        }
    )


def written(message: Message) -> int:
    """Characters that a model wrote for this message, as far as it shows them."""
    spoken = sum(len(p.text) for p in message.parts if isinstance(p, TextPart | ThinkingPart))
    return spoken + sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
