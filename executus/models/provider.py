"""The one protocol between executus and a model provider.

A host registers its own provider by name: any object with `name`, `complete` and `close`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from pydantic import JsonValue

from executus.estimate import message_tokens
from executus.message import Message
from executus.plan import ToolDef
from executus.usage import Usage

StopReason = Literal["end", "tool_calls", "length", "refusal"]
"""Why the model stopped. A reply without a terminal reason is not a reply: the adapter raises
`ModelError(fault="incomplete_response")`."""


@dataclass(slots=True)
class WireMessage:
    """A message of the conversation, with its encoded forms kept beside it.

    Messages never change, so an adapter encodes each one once per worker and keeps the bytes in
    `wire` under its own format's name.
    """

    message: Message
    """What it is; never a fold (those are lowered to user messages)."""
    wire: dict[str, tuple[bytes, ...]] = field(default_factory=dict[str, tuple[bytes, ...]])
    """Wire format, and the reader where that matters -> the message as JSON, in the pieces that the
    format's list is made of."""
    _tokens: int = field(default=0, init=False, repr=False, compare=False)

    @property
    def tokens(self) -> int:
        """Estimated tokens (`executus.estimate`), counted once."""
        if not self._tokens:
            self._tokens = message_tokens(self.message)
        return self._tokens


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call. Nothing secret is in it: credentials are the provider object's own."""

    model: str
    """The provider's name for the model."""
    system_prompt: str
    """May be empty."""
    messages: Sequence[WireMessage]
    """What the model is shown, in order."""
    tools: Sequence[ToolDef] = ()
    """The whole grant, so that the prompt prefix stays byte-stable; in a closing answer that has to
    come by `submit`, that tool alone."""
    tool_choice: Literal["auto", "none"] = "auto"
    """none: the tools stay in the prompt but may not be called (the closing answer)."""
    output_schema: dict[str, JsonValue] | None = None
    """JSON schema that the answer must match, by the provider's native means. Only given to who
    `TakesSchema`."""
    max_output_tokens: int = 8_192
    """Upper bound of the reply."""
    timeout: float = 300.0
    """Seconds the whole call may take; a stalled stream counts."""
    cache_key: str = ""
    """Same for all calls of a run: lets a provider route them to the same prompt cache."""


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A complete reply."""

    message: Message
    """Role assistant; parts in the provider's order, cleaned and capped by the model activity."""
    stop: StopReason
    """Why it stopped."""
    usage: Usage
    """Normalised: totals, with cache and reasoning as portions. `model_calls` is 1."""
    model: str
    """The model name the provider reports."""


Progress = Callable[[str], None]
"""Called with each piece of text as it streams; must not raise, may be called very often."""


class Provider(Protocol):
    """Talks to one model service. One object per worker, shared by concurrent calls.

    One that can hold a model to a JSON schema besides has a method `takes_schema`, see
    `TakesSchema`; the others get the tool `submit` where an answer in a schema is wanted.
    """

    @property
    def name(self) -> str:
        """The part of a spec before the first slash."""
        ...

    async def complete(self, request: ModelRequest, progress: Progress) -> ModelReply:
        """Make one call, streaming, without retries.

        Raises:
            ModelError: for every failure, classified. A cancel passes through as CancelledError.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


@runtime_checkable
class TakesSchema(Protocol):
    """A provider that has means of its own for answers in a schema."""

    def takes_schema(self, model: str, schema: Mapping[str, JsonValue]) -> bool:
        """Whether `model` can be held to `schema`, whose root is an object."""
        ...
