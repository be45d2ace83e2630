"""Anthropic's Messages API."""

from collections.abc import Mapping

from pydantic import JsonValue

from executus.message import Message, Part
from executus.models import anthropic_format as fmt
from executus.models.adapter import Adapter, Connection, Draft
from executus.models.loose import count, obj, text
from executus.models.provider import ModelReply, ModelRequest, Progress
from executus.models.sdk_client import Access
from executus.models.stops import stop_of
from executus.models.wire import (
    Caller,
    Json,
    call_part,
    compact,
    incomplete,
    origin,
    text_parts,
    thinking_parts,
    unsupported,
)
from executus.usage import Usage

NO_SCHEMA = (
    "claude-2",
    "claude-3",
    "claude-instant",
    "claude-opus-4-0",
    "claude-opus-4-2025",
    "claude-sonnet-4-0",
    "claude-sonnet-4-2025",
)
"""Models, by the beginning of their names, from before structured outputs."""


class AnthropicMessages(Adapter):
    """A `Provider` for Anthropic's Messages API."""

    default_name = "anthropic"
    path = "/v1/messages"

    def _connect(self, access: Access) -> Connection:
        from executus.models.anthropic_client import AnthropicClient  # noqa: PLC0415 - see `load`

        return AnthropicClient(access)

    def _knows_schemas(self, model: str) -> bool:
        base = model.rpartition("claude-")
        return bool(base[1]) and not f"claude-{base[2]}".startswith(NO_SCHEMA)

    def _holds(self, schema: Mapping[str, JsonValue]) -> bool:
        return self._subset(schema) is not None

    def _content(self, request: ModelRequest) -> bytes:
        schema = request.output_schema
        held = None if schema is None else self._subset(schema)
        if schema is not None and held is None:
            raise unsupported("the Anthropic API", "this output schema")
        return fmt.content(request, held, self._caller)

    @staticmethod
    def _subset(schema: Mapping[str, JsonValue]) -> Json | None:
        from executus.models.anthropic_client import subset  # noqa: PLC0415 - see `load`

        return subset(schema)

    def _draft(self, progress: Progress) -> Draft:
        return _Draft(self._caller, progress)


class _Block:
    """One content block as it grows."""

    __slots__ = ("body", "input_json", "kind", "signature", "text")

    def __init__(self, start: dict[str, object]) -> None:
        self.kind = text(start.get("type"))
        self.text = [text(start.get("text")) or text(start.get("thinking"))]
        self.signature = text(start.get("signature"))
        self.input_json: list[str] = []
        self.body = start

    def parts(self, position: int, made_by: str) -> tuple[Part, ...]:
        """What it became; nothing for kinds we did not ask for."""
        shown = "".join(self.text)
        match self.kind:
            case "text":
                return text_parts(shown)
            case "thinking":
                item = {"type": "thinking", "thinking": shown, "signature": self.signature}
                return thinking_parts(fmt.FORMAT, shown, item, made_by)
            case "redacted_thinking":
                return thinking_parts(fmt.FORMAT, "", self.body, made_by)
            case "tool_use":
                name, call_id = text(self.body.get("name")), text(self.body.get("id"))
                return (call_part(position, call_id, name, self._arguments()),)
            case _:
                return ()

    def _arguments(self) -> str:
        if streamed := "".join(self.input_json):
            return streamed
        given = self.body.get("input")
        return compact(given) if given else "{}"


class _Draft(Draft):
    def __init__(self, caller: Caller, progress: Progress) -> None:
        super().__init__(caller, progress)
        self._blocks: dict[int, _Block] = {}
        self._usage: dict[str, object] = {}
        self._model = ""
        self._stop = ""

    def take(self, event: dict[str, object]) -> None:
        match event.get("type"):
            case "message_start":
                message = obj(event.get("message"))
                self._model = text(message.get("model"))
                # Its output is a placeholder of a token: without the last word, it is estimated.
                self._usage = {**obj(message.get("usage")), "output_tokens": 0}
            case "content_block_start":
                block = _Block(obj(event.get("content_block")))
                self._blocks[self._index(event)] = block
                self.count(*block.text, text(block.body.get("data")))
                self._show(block, block.text[0])
            case "content_block_delta":
                self._grow(self._blocks[self._index(event)], obj(event.get("delta")))
            case "message_delta":
                self._stop = text(obj(event.get("delta")).get("stop_reason")) or self._stop
                news = obj(event.get("usage"))
                # A proxy may put zeros here for what the start has counted.
                self._usage.update({k: v for k, v in news.items() if v})
            case _:
                pass

    @staticmethod
    def _index(event: dict[str, object]) -> int:
        index = event["index"]
        if not isinstance(index, int):
            raise TypeError("a content block event without an index")
        return index

    def _grow(self, block: _Block, delta: dict[str, object]) -> None:
        piece = text(delta.get("text")) or text(delta.get("thinking"))
        partial = text(delta.get("partial_json"))
        signature = text(delta.get("signature"))
        self.count(piece, partial, signature)
        if piece:
            block.text.append(piece)
            self._show(block, piece)
        if partial:
            block.input_json.append(partial)
        block.signature += signature

    def _show(self, block: _Block, piece: str) -> None:
        if block.kind == "text" and piece:
            self._progress(piece)

    @property
    def ended(self) -> bool:
        return bool(self._stop)

    def reply(self, asked: str, sent: int) -> ModelReply:
        if not self._stop:
            raise incomplete(self._caller, "the stream ended without a stop reason")
        made_by = origin(self._caller, asked)  # a signature is of one model
        parts = tuple(
            part
            for position, index in enumerate(sorted(self._blocks))
            for part in self._blocks[index].parts(position, made_by)
        )
        message = Message(role="assistant", parts=parts)
        stop = stop_of(self._stop, self._caller, calls=bool(message.tool_calls))
        if stop == "end" and message.tool_calls:
            stop = "tool_calls"
        usage = self.metered(_usage(self._usage), sent, message)
        return ModelReply(message, stop, usage, self._model or asked)


def _usage(raw: dict[str, object]) -> Usage:
    """Totals: the API counts cached input apart from `input_tokens`."""
    read = count(raw.get("cache_read_input_tokens"))
    write = count(raw.get("cache_creation_input_tokens"))
    return Usage(
        input_tokens=count(raw.get("input_tokens")) + read + write,
        output_tokens=count(raw.get("output_tokens")),
        cache_read_tokens=read,
        cache_write_tokens=write,
        reasoning_tokens=count(obj(raw.get("output_tokens_details")).get("thinking_tokens")),
        model_calls=1,
    )
