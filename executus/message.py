"""Messages: what the transcript is made of.

One assistant message per model turn, one tool message per tool call. A message is immutable and
serialises to the same bytes wherever it is, so its digest names it (see `executus.transcript`).
"""

from typing import Annotated, Literal

from pydantic import Field

from executus.data import Record, empty
from executus.digest import digest

MAX_TEXT = 1_000_000
"""Characters in one text part. Nothing over 1 MB enters a Temporal payload."""
MAX_BLOB = 700_000
"""Bytes in one image or file part: below 1 MB once base64 has added a third."""
MAX_ARGUMENTS = 262_144
"""Characters of one tool call's arguments."""
MAX_ORIGIN = 256
"""Characters of who made a thought."""
MAX_NAME = 128
"""Characters of a name; OpenAI and Anthropic accept 64 for a tool."""


class TextPart(Record):
    """Plain text."""

    type: Literal["text"] = "text"
    text: str = Field(max_length=MAX_TEXT)
    """The text."""


class ImagePart(Record):
    """An image, by value (never a URL: a provider must not fetch on the caller's word)."""

    type: Literal["image"] = "image"
    mime: str = Field(pattern=r"^image/[a-z0-9.+-]{1,40}$")
    """For example `image/png`."""
    data: bytes = Field(max_length=MAX_BLOB, min_length=1)
    """The encoded image."""


class InputFile(Record):
    """A file as a caller hands it over; its name may be anything, see `files.safe_name`."""

    type: Literal["file"] = "file"
    name: str = Field(default="", max_length=1_000)
    """File name."""
    mime: str = Field(default="", max_length=200)
    """For example `application/pdf`; unknown when empty."""
    data: bytes
    """The content. What is empty or too large is dropped, and the run is told."""


class FilePart(InputFile):
    """A document, by value."""

    name: str = Field(min_length=1, max_length=MAX_NAME, pattern=r"^[^\x00-\x1f/\\]+$")
    """File name shown to the model; no path."""
    mime: str = Field(pattern=r"^[a-z]+/[A-Za-z0-9.+-]{1,80}$")
    """For example `application/pdf`."""
    data: bytes = Field(max_length=MAX_BLOB, min_length=1)
    """The content."""


class ThinkingPart(Record):
    """Reasoning that a provider wants back verbatim with the next request."""

    type: Literal["thinking"] = "thinking"
    text: str = Field(default="", max_length=MAX_TEXT)
    """What the provider shows of it; may be empty."""
    provider: str = Field(max_length=MAX_NAME)
    """The wire format that made it (`anthropic`, `openai`): only that one gets it back."""
    data: str = Field(default="", max_length=MAX_TEXT)
    """The provider's own item as JSON text: signature, encrypted content, ids. Opaque to us."""
    origin: str = Field(default="", max_length=MAX_ORIGIN, exclude_if=empty)
    """Who made it (`anthropic/claude-opus-5-5`, `openai`): only they read it, others of the format
    refuse it. Empty: not known, and it goes to every one of the format."""


class ToolCallPart(Record):
    """The model asks for a tool."""

    type: Literal["tool_call"] = "tool_call"
    id: str = Field(min_length=1, max_length=256)
    """Unique in the run (the model step makes it so)."""
    name: str = Field(max_length=MAX_NAME)
    """The tool's name, as the model wrote it (cut to 128 characters)."""
    arguments: str = Field(default="{}", max_length=MAX_ARGUMENTS)
    """JSON text as the model wrote it: kept verbatim, so the prompt prefix stays byte-stable."""
    data: str = Field(default="", max_length=MAX_TEXT)
    """The provider's own item as JSON text, where it must go back verbatim."""


ToolOutcome = Literal["ok", "error", "unknown"]
"""ok: it ran. error: it did not do its work, and says why. unknown: the attempt was lost (a worker
died, a time-out) and the effect may or may not have happened: verify before trying again."""


class ToolResultPart(Record):
    """What a tool call brought; stands in history once."""

    type: Literal["tool_result"] = "tool_result"
    call_id: str = Field(min_length=1, max_length=256)
    """The `ToolCallPart.id` it answers."""
    name: str = Field(max_length=MAX_NAME)
    """The tool."""
    text: str = Field(max_length=MAX_TEXT)
    """The result as the model sees it; JSON text when the tool returned data."""
    outcome: ToolOutcome = "ok"
    """Whether it worked."""
    bytes: int = Field(default=0, ge=0)
    """Size of the whole result in bytes, before any cut."""
    digest: str = Field(default="", max_length=64)
    """SHA-256 (32 hex digits) of the whole result, before any cut."""
    truncated: bool = False
    """Whether `text` is a head and tail of the whole result."""

    file_id: str = Field(default="", max_length=64, exclude_if=empty)
    """The whole result in the run's file store; empty when it is not there."""

    @staticmethod
    def of(call_id: str, name: str, text: str, outcome: ToolOutcome) -> "ToolResultPart":
        """A short answer of ours, whole."""
        data = text.encode("utf-8", "replace")
        return ToolResultPart(
            call_id=call_id,
            name=name,
            text=text,
            outcome=outcome,
            bytes=len(data),
            digest=digest(data),
        )


Part = Annotated[
    TextPart | ImagePart | FilePart | ThinkingPart | ToolCallPart | ToolResultPart,
    Field(discriminator="type"),
]

Role = Literal["user", "assistant", "tool", "summary", "phase"]
"""summary: a fold made by compaction; sent to the model as a user message in place of the folded
messages, which stay in the transcript. phase: the same, where a phase begins: it folds what earlier
phases said."""


class Fold(Record):
    """The range of transcript messages that one stands for: `start` <= i < `end`."""

    start: int = Field(ge=0)
    """First folded message."""
    end: int = Field(ge=0)
    """One past the last folded message."""


class Message(Record):
    """One entry of the transcript."""

    role: Role
    """Who speaks."""
    parts: tuple[Part, ...] = ()
    """In order, as the provider gave them."""
    fold: Fold | None = None
    """Set exactly on summaries and where a phase begins."""

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        """The tool calls, in order."""
        return tuple([part for part in self.parts if isinstance(part, ToolCallPart)])

    @staticmethod
    def user(text: str) -> "Message":
        """A user message of one text part."""
        return Message(role="user", parts=(TextPart(text=text),))
