"""What a scripted provider answers: turns of a model, and every way in which one can go wrong."""

import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Finish = Literal["end", "tool_calls", "length", "refusal", "content_filter", "pause"]


@dataclass(frozen=True)
class Say:
    text: str


@dataclass(frozen=True)
class Call:
    name: str
    arguments: str = "{}"
    """JSON text as the model wrote it; need not be valid."""
    id: str | None = None
    """None: made up. Empty: the server sends none."""


@dataclass(frozen=True)
class Think:
    text: str
    data: str = "c2ln"
    """Signature (Anthropic) or encrypted content (OpenAI)."""
    redacted: bool = False


@dataclass(frozen=True)
class Refuse:
    text: str


@dataclass(frozen=True)
class Raw:
    """A block or item of a kind we never asked for, as the format writes it."""

    data: dict[str, Any]


Block = Say | Call | Think | Refuse | Raw


@dataclass(frozen=True)
class Tokens:
    """Totals; the portions are in them."""

    input: int = 100
    output: int = 20
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Turn:
    blocks: tuple[Block, ...] = ()
    finish: Finish | None = "end"
    """None: the stream ends without a terminal reason."""
    tokens: Tokens | None = field(default_factory=Tokens)
    """None: the server reports no usage."""
    delay: float = 0.0
    """Seconds before the first byte."""
    pace: float = 0.0
    """Seconds between two events."""
    piece: int = 64
    """Characters in one delta."""
    broken: Literal["", "drop", "stall", "malformed", "error", "failed"] = ""
    """What happens instead of the rest, after `after` events."""
    after: int = 3
    error: dict[str, Any] = field(default_factory=dict)
    """The error of an error event: type, message, code."""
    model: str | None = None
    """Model name in the answer; None repeats the request's."""
    phase: str | None = None
    """Label of the assistant message (OpenAI Responses)."""
    reason: str | None = None
    """Another terminal reason than `finish` stands for, as the format writes it."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields of the first chat delta: what compatible servers invent."""


@dataclass(frozen=True)
class Status:
    code: int
    message: str = "no"
    type: str | None = None
    error_code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Raw body instead of the provider's error object."""


@dataclass(frozen=True)
class Attempts:
    replies: tuple["Reply", ...]


Reply = Turn | Status | Attempts


def say(text: str, **options: Any) -> Turn:
    return Turn(blocks=(Say(text),) if text else (), **options)


def call(name: str, /, **arguments: Any) -> Turn:
    return calls(Call(name, json.dumps(arguments)))


def calls(
    *made: Call, text: str = "", finish: Finish | None = "tool_calls", **options: Any
) -> Turn:
    said = (Say(text),) if text else ()
    return Turn(blocks=(*said, *made), finish=finish, **options)


def turn(*blocks: Block, finish: Finish | None = "end", **options: Any) -> Turn:
    return Turn(blocks=blocks, finish=finish, **options)


def status(code: int, message: str = "no", **options: Any) -> Status:
    return Status(code, message, **options)


def attempts(*replies: Reply) -> Attempts:
    """The first request gets the first reply, the same request again the next; the last stays."""
    return Attempts(replies)


def drop(of: Turn | None = None, after: int = 3) -> Turn:
    """The connection breaks after some events."""
    return replace(of or say("to be cut off"), broken="drop", after=after)


def stall(of: Turn | None = None, after: int = 3) -> Turn:
    """Silence after some events (0: before the first), until the client gives up."""
    return replace(of or say("to be cut off"), broken="stall", after=after)


def malformed(of: Turn | None = None, after: int = 3) -> Turn:
    """An event that is not JSON."""
    return replace(of or say("to be cut off"), broken="malformed", after=after)


def truncate(of: Turn | None = None) -> Turn:
    """A clean end of the stream without a terminal reason."""
    return replace(of or say("to be cut off"), finish=None)


def stream_error(
    type: str,
    message: str = "no",
    code: Any = None,
    after: int = 3,
    *,
    failed: bool = False,
) -> Turn:
    """An error event after a 200. `failed`: a failed response, where the format has that."""
    error = {"type": type, "message": message, "code": code}
    broken: Literal["error", "failed"] = "failed" if failed else "error"
    return replace(say("to be cut off"), broken=broken, after=after, error=error)
