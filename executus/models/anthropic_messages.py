"""Anthropic's Messages API.

Importing this module takes seconds, because the SDK does: do it when the worker starts, not in
the first call, where it would eat the call's time and stop the event loop.
"""

import json
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, cast

from anthropic import AsyncAnthropic, AsyncStream, Timeout, transform_schema

from executus.message import Message, Part
from executus.models import anthropic_format as fmt
from executus.models.loose import count, obj, text
from executus.models.provider import ModelReply, ModelRequest, Progress, StopReason
from executus.models.wire import (
    CONNECT_TIMEOUT,
    Caller,
    Json,
    Meter,
    call_part,
    dump,
    guarded,
    incomplete,
    text_parts,
    thinking_parts,
)
from executus.usage import Usage

if TYPE_CHECKING:
    import httpx2

DEFAULT_URL = "https://api.anthropic.com"

STOPS: Mapping[str, StopReason] = {
    "end_turn": "end",
    "stop_sequence": "end",
    "pause_turn": "end",
    "tool_use": "end",  # without a tool call; with one it is tool_calls
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}
"""The API's reasons. One that it may add later counts as an end."""


class AnthropicMessages:
    """A `Provider` for Anthropic's Messages API; one client, and its connections, for its life.

    `http_client` brings own proxies, certificates or limits; it is closed with the provider.
    """

    def __init__(
        self,
        *,
        api_key: str,
        name: str = "anthropic",
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        http_client: "httpx2.AsyncClient | None" = None,
    ) -> None:
        self._name = name
        self._key = api_key
        self._base_url = base_url or DEFAULT_URL
        self._headers = dict(headers or {})
        self._http_client = http_client
        self._client: AsyncAnthropic | None = None
        self._caller = Caller(name, (api_key, *self._headers.values()))

    @property
    def name(self) -> str:
        """The part of a spec before the first slash."""
        return self._name

    async def complete(self, request: ModelRequest, progress: Progress) -> ModelReply:
        """Make one call; see `Provider.complete`.

        Raises:
            ModelError: for every failure, classified.
        """
        call = self._complete(request, progress)
        return await guarded(call, timeout=request.timeout, caller=self._caller)

    async def close(self) -> None:
        """Release connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _complete(self, request: ModelRequest, progress: Progress) -> ModelReply:
        content = dump(fmt.body(request, _subset(request.output_schema)), self._caller)
        stream = await self._open().post(
            "/v1/messages",
            cast_to=object,
            content=content,
            options={"timeout": Timeout(request.timeout, connect=CONNECT_TIMEOUT)},
            stream=True,
            stream_cls=AsyncStream[object],
        )
        draft = _Draft(self._caller, progress)
        async with stream:
            await draft.read(stream.__aiter__())
        return draft.reply(request.model)

    def _open(self) -> AsyncAnthropic:
        if self._client is None:
            self._client = AsyncAnthropic(
                api_key=self._key,
                base_url=self._base_url,
                max_retries=0,
                default_headers=self._headers,
                http_client=self._http_client,
            )
        return self._client


def _subset(schema: Json | None) -> Json | None:
    """`schema` in the subset that the API takes, or None when it does not fit."""
    if schema is None:
        return None
    try:
        return cast("Json", transform_schema(schema))
    except (ValueError, TypeError, AssertionError, AttributeError):
        return None


class _Block:
    """One content block as it grows."""

    __slots__ = ("body", "input_json", "kind", "signature", "text")

    def __init__(self, start: dict[str, object]) -> None:
        self.kind = text(start.get("type"))
        self.text = [text(start.get("text")) or text(start.get("thinking"))]
        self.signature = text(start.get("signature"))
        self.input_json: list[str] = []
        self.body = start

    def parts(self, position: int) -> tuple[Part, ...]:
        """What it became; nothing for kinds we did not ask for."""
        shown = "".join(self.text)
        match self.kind:
            case "text":
                return text_parts(shown)
            case "thinking":
                item = {"type": "thinking", "thinking": shown, "signature": self.signature}
                return thinking_parts(fmt.FORMAT, shown, item)
            case "redacted_thinking":
                return thinking_parts(fmt.FORMAT, "", self.body)
            case "tool_use":
                name, call_id = text(self.body.get("name")), text(self.body.get("id"))
                return (call_part(position, call_id, name, self._arguments()),)
            case _:
                return ()

    def _arguments(self) -> str:
        if streamed := "".join(self.input_json):
            return streamed
        given = self.body.get("input")
        return json.dumps(given, ensure_ascii=False, separators=(",", ":")) if given else "{}"


class _Draft:
    """The reply as its events arrive."""

    def __init__(self, caller: Caller, progress: Progress) -> None:
        self._caller = caller
        self._progress = progress
        self._meter = Meter(caller)
        self._blocks: dict[int, _Block] = {}
        self._usage: dict[str, object] = {}
        self._model = ""
        self._stop = ""

    async def read(self, events: AsyncIterator[object]) -> None:
        async for event in events:
            self._take(obj(event))

    def _take(self, event: dict[str, object]) -> None:
        match event.get("type"):
            case "message_start":
                message = obj(event.get("message"))
                self._model = text(message.get("model"))
                self._usage = {**obj(message.get("usage"))}
            case "content_block_start":
                block = _Block(obj(event.get("content_block")))
                self._blocks[self._index(event)] = block
                self._meter.add(*block.text, text(block.body.get("data")))
                self._show(block, block.text[0])
            case "content_block_delta":
                self._grow(self._blocks[self._index(event)], obj(event.get("delta")))
            case "message_delta":
                self._stop = text(obj(event.get("delta")).get("stop_reason")) or self._stop
                news = obj(event.get("usage"))
                self._usage.update({k: v for k, v in news.items() if v is not None})
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
        self._meter.add(piece, partial, signature)
        if piece:
            block.text.append(piece)
            self._show(block, piece)
        if partial:
            block.input_json.append(partial)
        block.signature += signature

    def _show(self, block: _Block, piece: str) -> None:
        if block.kind == "text" and piece:
            self._progress(piece)

    def reply(self, asked: str) -> ModelReply:
        if not self._stop:
            raise incomplete(self._caller, "the stream ended without a stop reason")
        parts = tuple(
            part
            for position, index in enumerate(sorted(self._blocks))
            for part in self._blocks[index].parts(position)
        )
        message = Message(role="assistant", parts=parts)
        stop = STOPS.get(self._stop, "end")
        if stop == "end" and message.tool_calls:
            stop = "tool_calls"
        return ModelReply(message, stop, _usage(self._usage), self._model or asked)


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
