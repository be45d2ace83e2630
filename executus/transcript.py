"""The transcript: an append-only list of messages with a digest chain.

The workflow owns it. A worker keeps copies; a cursor (count + chain head) says exactly which
transcript is meant without repeating a byte of it, and proves that a copy is the right one.
"""

from collections.abc import Iterable, Sequence

from pydantic import Field

from executus.data import Data
from executus.digest import chain, digest
from executus.message import Message, TextPart

EMPTY = digest(b"executus.transcript")
"""Chain head of a transcript without messages."""
SUMMARY_HEADER = "[SUMMARY OF EARLIER MESSAGES]\n"
SUMMARY_TOKENS = 8_192
"""Upper bound of a summary, and of what a model thinks before it writes one."""
SUMMARY_RESULT_BYTES = 8_192
"""Bytes of one tool result that the summariser is shown."""


class Cursor(Data):
    """A position in a run's transcript."""

    count: int = Field(default=0, ge=0)
    """Messages up to here."""
    head: str = EMPTY
    """Chain head after `count` messages."""


class TranscriptPage(Data):
    """Consecutive messages of a transcript, at most about 1 MB of them."""

    start: int = Field(ge=0)
    """Index of the first one."""
    messages: tuple[Message, ...]
    """In order."""
    total: int = Field(ge=0)
    """Messages in the whole transcript when the page was made."""


def message_digest(message: Message) -> str:
    """Digest of a message's JSON; equal wherever the message is, since its JSON round-trips."""
    return digest(message.__pydantic_serializer__.to_json(message))


class Transcript:
    """Append-only messages; deterministic, so workflow code may hold it."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self.messages: list[Message] = []
        self.digests: list[str] = []
        self.sizes: list[int] = []
        self._heads: list[str] = [EMPTY]
        for message in messages:
            self.append(message)

    def __len__(self) -> int:
        return len(self.messages)

    def append(self, message: Message) -> str:
        """Add a message; returns its digest."""
        data = message.__pydantic_serializer__.to_json(message)
        name = digest(data)
        self.messages.append(message)
        self.digests.append(name)
        self.sizes.append(len(data))
        self._heads.append(chain(self._heads[-1], name))
        return name

    @property
    def cursor(self) -> Cursor:
        """The position after the last message."""
        return Cursor(count=len(self.messages), head=self._heads[-1])

    def page(self, start: int, limit_bytes: int) -> TranscriptPage:
        """Messages from `start` on that fit into `limit_bytes`; at least one if there is one."""
        end, room = start, limit_bytes
        while end < len(self.messages) and (end == start or self.sizes[end] <= room):
            room -= self.sizes[end]
            end += 1
        return TranscriptPage(
            start=start, messages=tuple(self.messages[start:end]), total=len(self.messages)
        )


def view(messages: Sequence[Message]) -> list[int]:
    """Indices of the messages a model is shown, in order; a summary replaces what it folds.

    A later summary covers an earlier one, so only the last fold counts. Pure: the workflow and
    every worker compute the same view from the same transcript.
    """
    last = next((i for i in range(len(messages) - 1, -1, -1) if messages[i].fold), None)
    fold = messages[last].fold if last is not None else None
    if last is None or fold is None:
        return list(range(len(messages)))
    kept = [i for i in range(fold.end, len(messages)) if messages[i].fold is None]
    head = [i for i in range(fold.start) if messages[i].fold is None]
    return [*head, last, *kept]


def lower(message: Message) -> Message:
    """A fold as the user message that a model is shown; any other message as it is."""
    if message.fold is None:
        return message
    header = SUMMARY_HEADER if message.role == "summary" else ""
    return Message(role="user", parts=(TextPart(text=header + message.text),))
