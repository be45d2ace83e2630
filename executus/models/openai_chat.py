"""OpenAI's Chat Completions API, and the many servers that speak it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from executus.jsontext import ArgumentsError, parse_object
from executus.message import Message, Part
from executus.models import chat_format as fmt
from executus.models.adapter import Adapter, Connection, Draft
from executus.models.loose import count, items, obj, text
from executus.models.openai_names import knows_schemas
from executus.models.provider import ModelReply, ModelRequest, Progress
from executus.models.sdk_client import Access
from executus.models.stops import stop_of
from executus.models.wire import (
    Caller,
    arguments_text,
    call_part,
    incomplete,
    origin,
    text_parts,
    thinking_parts,
)
from executus.usage import Usage

if TYPE_CHECKING:
    import httpx2

Dialect = Literal["openai", "compatible"]
"""openai: newest field names and prompt_cache_key. compatible: only what every server knows."""


class OpenAIChat(Adapter):
    """A `Provider` for the Chat Completions API.

    `dialect` None: `compatible` when a `base_url` is given, else `openai`.
    """

    default_name = "openai-chat"
    path = "/chat/completions"

    def __init__(
        self,
        *,
        api_key: str,
        name: str | None = None,
        base_url: str | None = None,
        dialect: Dialect | None = None,
        headers: Mapping[str, str] | None = None,
        http_client: "httpx2.AsyncClient | None" = None,
        native_schema: bool | None = None,
    ) -> None:
        self._official = (dialect or ("compatible" if base_url else "openai")) == "openai"
        super().__init__(
            api_key=api_key,
            name=name,
            base_url=base_url,
            headers=headers,
            http_client=http_client,
            native_schema=native_schema,
        )

    def _connect(self, access: Access) -> Connection:
        from executus.models.openai_client import OpenAIClient  # noqa: PLC0415 - see `load`

        return OpenAIClient(access)

    def _knows_schemas(self, model: str) -> bool:
        # Many compatible servers ignore a schema, or hold the model to it from the first token, so
        # that no tool is ever called.
        return self._official and knows_schemas(model)

    def _content(self, request: ModelRequest) -> bytes:
        return fmt.content(request, self._caller, official=self._official)

    def _draft(self, progress: Progress) -> Draft:
        return _Draft(self._caller, progress)


class _Call:
    """One tool call as it grows."""

    __slots__ = ("arguments", "call_id", "extra", "name")

    def __init__(self) -> None:
        self.call_id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.extra: dict[str, object] = {}

    def ends_before(self, call_id: str, name: str, piece: str) -> bool:
        """Whether a piece begins another call, where the index does not say so."""
        if call_id and self.call_id:
            return call_id != self.call_id
        if not (name and self.name):
            return False
        return name != self.name or bool(piece and self._whole())

    def _whole(self) -> bool:
        said = "".join(self.arguments)
        if not said.rstrip().endswith("}"):  # some servers repeat the name with every piece
            return False
        try:
            parse_object(said)
        except ArgumentsError:
            return False
        return True


class _Draft(Draft):
    def __init__(self, caller: Caller, progress: Progress) -> None:
        super().__init__(caller, progress)
        self._text: list[str] = []
        self._reasoning: dict[str, list[str]] = {}
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}
        self._refused = False
        self._usage: dict[str, object] = {}
        self._model = ""
        self._finish = ""
        self._finishes = 0

    def take(self, event: dict[str, object]) -> None:
        self._model = text(event.get("model")) or self._model
        self._usage = obj(event.get("usage")) or self._usage
        for choice in items(event.get("choices"))[:1]:
            if reason := text(choice.get("finish_reason")):
                self._finish = reason
                self._finishes += 1
            delta = obj(choice.get("delta"))
            self._say(text(delta.get("content")))
            refusal = text(delta.get("refusal"))
            self._refused = self._refused or bool(refusal)
            self._say(refusal)
            for key in fmt.REASONING:
                if piece := text(delta.get(key)):
                    self.count(piece)
                    self._reasoning.setdefault(key, []).append(piece)
            for call in items(delta.get("tool_calls")):
                self._grow(call)

    def _say(self, piece: str) -> None:
        if piece:
            self.count(piece)
            self._text.append(piece)
            self._progress(piece)

    def _grow(self, delta: dict[str, object]) -> None:
        function = obj(delta.get("function"))
        call_id, name = text(delta.get("id")), text(function.get("name"))
        piece = arguments_text(function.get("arguments"))
        self.count(piece)
        call = self._call(delta.get("index"), call_id, name, piece)
        call.call_id = call.call_id or call_id
        call.name = call.name or name
        call.arguments.append(piece)
        call.extra = obj(delta.get(fmt.EXTRA)) or call.extra

    def _call(self, index: object, call_id: str, name: str, piece: str) -> _Call:
        """The call that a piece belongs to: some servers send no index, or 0 for every call.

        And of those some send no id either: then a name begins the next call.
        """
        current: _Call | None
        if isinstance(index, int):
            current = self._at.get(index)
        else:
            current = self._calls[-1] if self._calls else None
        if current is None or current.ends_before(call_id, name, piece):
            current = _Call()
            self._calls.append(current)
        if isinstance(index, int):
            self._at[index] = current
        return current

    @property
    def ended(self) -> bool:
        return self._finishes == 1  # a few servers say it with every event

    def reply(self, asked: str, sent: int) -> ModelReply:
        if not self._finish:
            raise incomplete(self._caller, "the stream ended without a finish reason")
        parts: list[Part] = []
        for key, pieces in self._reasoning.items():
            shown = "".join(pieces)
            parts += thinking_parts(fmt.FORMAT, shown, {key: shown}, origin(self._caller))
        if any(call.extra for call in self._calls):
            extras = {fmt.EXTRA: [call.extra for call in self._calls]}
            parts += thinking_parts(fmt.FORMAT, "", extras, origin(self._caller))
        parts += text_parts("".join(self._text))
        parts += [
            call_part(i, call.call_id, call.name, "".join(call.arguments))
            for i, call in enumerate(self._calls)
        ]
        stop = stop_of(self._finish, self._caller, calls=bool(self._calls))
        if stop == "end" and self._refused:
            stop = "refusal"
        elif stop == "end" and self._calls:
            stop = "tool_calls"
        message = Message(role="assistant", parts=tuple(parts))
        usage = self.metered(_usage(self._usage), sent, message)
        return ModelReply(message, stop, usage, self._model or asked)


def _usage(raw: dict[str, object]) -> Usage:
    details = obj(raw.get("prompt_tokens_details"))
    sent, written = count(raw.get("prompt_tokens")), count(raw.get("completion_tokens"))
    if sent:  # Google's and xAI's servers charge for thoughts that only the total has in it
        written = max(written, count(raw.get("total_tokens")) - sent)
    return Usage(
        input_tokens=sent,
        output_tokens=written,
        cache_read_tokens=count(details.get("cached_tokens")),
        cache_write_tokens=count(details.get("cache_write_tokens")),
        reasoning_tokens=count(obj(raw.get("completion_tokens_details")).get("reasoning_tokens")),
        model_calls=1,
    )
