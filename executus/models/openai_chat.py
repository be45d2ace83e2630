"""OpenAI's Chat Completions API, and the many servers that speak it."""

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Literal

from executus.message import Message, Part
from executus.models import chat_format as fmt
from executus.models.loose import count, items, obj, text
from executus.models.openai_client import OpenAIClient
from executus.models.provider import ModelReply, ModelRequest, Progress, StopReason
from executus.models.wire import (
    Caller,
    Meter,
    call_part,
    dump,
    estimated,
    guarded,
    incomplete,
    text_parts,
    thinking_parts,
)
from executus.usage import Usage

if TYPE_CHECKING:
    import httpx2

Dialect = Literal["openai", "compatible"]
"""openai: newest field names and prompt_cache_key. compatible: only what every server knows."""

STOPS: Mapping[str, StopReason] = {"length": "length", "content_filter": "refusal"}
"""Finish reasons that are not an end; servers name an end in many ways (stop, eos, ...)."""


class OpenAIChat:
    """A `Provider` for the Chat Completions API; one client, and its connections, for its life.

    `dialect` None: `compatible` when a `base_url` is given, else `openai`. `http_client` brings
    own proxies, certificates or limits; it is closed with the provider.
    """

    def __init__(
        self,
        *,
        api_key: str,
        name: str = "openai-chat",
        base_url: str | None = None,
        dialect: Dialect | None = None,
        headers: Mapping[str, str] | None = None,
        http_client: "httpx2.AsyncClient | None" = None,
    ) -> None:
        self._name = name
        self._official = (dialect or ("compatible" if base_url else "openai")) == "openai"
        self._caller = Caller(name, (api_key, *(headers or {}).values()))
        self._client = OpenAIClient(
            api_key=api_key, base_url=base_url, headers=headers, http_client=http_client
        )

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
        await self._client.close()

    async def _complete(self, request: ModelRequest, progress: Progress) -> ModelReply:
        content = dump(fmt.body(request, official=self._official), self._caller)
        draft = _Draft(self._caller, progress)
        async with self._client.stream("/chat/completions", content, request.timeout) as events:
            await draft.read(events)
        return draft.reply(request.model, sent=len(content))


class _Call:
    """One tool call as it grows."""

    __slots__ = ("arguments", "call_id", "name")

    def __init__(self) -> None:
        self.call_id = ""
        self.name = ""
        self.arguments: list[str] = []


class _Draft:
    """The reply as its chunks arrive."""

    def __init__(self, caller: Caller, progress: Progress) -> None:
        self._caller = caller
        self._progress = progress
        self._meter = Meter(caller)
        self._text: list[str] = []
        self._reasoning: dict[str, list[str]] = {}
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}
        self._refused = False
        self._usage: dict[str, object] = {}
        self._model = ""
        self._finish = ""

    async def read(self, events: AsyncIterator[object]) -> None:
        async for event in events:
            self._take(obj(event))

    def _take(self, chunk: dict[str, object]) -> None:
        self._model = text(chunk.get("model")) or self._model
        self._usage = obj(chunk.get("usage")) or self._usage
        for choice in items(chunk.get("choices"))[:1]:
            self._finish = text(choice.get("finish_reason")) or self._finish
            delta = obj(choice.get("delta"))
            self._say(text(delta.get("content")))
            refusal = text(delta.get("refusal"))
            self._refused = self._refused or bool(refusal)
            self._say(refusal)
            for key in fmt.REASONING:
                if piece := text(delta.get(key)):
                    self._meter.add(piece)
                    self._reasoning.setdefault(key, []).append(piece)
            for call in items(delta.get("tool_calls")):
                self._grow(call)

    def _say(self, piece: str) -> None:
        if piece:
            self._meter.add(piece)
            self._text.append(piece)
            self._progress(piece)

    def _grow(self, delta: dict[str, object]) -> None:
        function = obj(delta.get("function"))
        call = self._call(delta.get("index"), text(delta.get("id")))
        call.name = call.name or text(function.get("name"))
        piece = text(function.get("arguments"))
        self._meter.add(piece)
        call.arguments.append(piece)

    def _call(self, index: object, call_id: str) -> _Call:
        """The call that a piece belongs to: some servers send no index, or 0 for every call."""
        current: _Call | None
        if isinstance(index, int):
            current = self._at.get(index)
        else:
            current = self._calls[-1] if self._calls else None
        if current is None or (call_id and current.call_id and call_id != current.call_id):
            current = _Call()
            self._calls.append(current)
        if isinstance(index, int):
            self._at[index] = current
        current.call_id = current.call_id or call_id
        return current

    def reply(self, asked: str, *, sent: int) -> ModelReply:
        if not self._finish:
            raise incomplete(self._caller, "the stream ended without a finish reason")
        parts: list[Part] = []
        for key, pieces in self._reasoning.items():
            shown = "".join(pieces)
            parts += thinking_parts(fmt.FORMAT, shown, {key: shown})
        parts += text_parts("".join(self._text))
        parts += [
            call_part(i, call.call_id, call.name, "".join(call.arguments))
            for i, call in enumerate(self._calls)
        ]
        stop = STOPS.get(self._finish, "end")
        if stop == "end" and self._refused:
            stop = "refusal"
        elif stop == "end" and self._calls:
            stop = "tool_calls"
        usage = estimated(_usage(self._usage), sent, self._meter.characters)
        message = Message(role="assistant", parts=tuple(parts))
        return ModelReply(message, stop, usage, self._model or asked)


def _usage(raw: dict[str, object]) -> Usage:
    details = obj(raw.get("prompt_tokens_details"))
    return Usage(
        input_tokens=count(raw.get("prompt_tokens")),
        output_tokens=count(raw.get("completion_tokens")),
        cache_read_tokens=count(details.get("cached_tokens")),
        cache_write_tokens=count(details.get("cache_write_tokens")),
        reasoning_tokens=count(obj(raw.get("completion_tokens_details")).get("reasoning_tokens")),
        model_calls=1,
    )
