"""OpenAI's Responses API."""

from executus.message import Message, Part
from executus.models import openai_items as fmt
from executus.models.adapter import Adapter, Connection, Draft
from executus.models.faults import from_payload
from executus.models.loose import count, items, obj, text
from executus.models.openai_names import knows_schemas
from executus.models.provider import ModelReply, ModelRequest, Progress, StopReason
from executus.models.sdk_client import Access
from executus.models.stops import STOPS
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

TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})
ENDED_OTHERWISE = frozenset({"incomplete", "failed", "cancelled"})
"""Statuses of a response that is not complete."""


class OpenAIResponses(Adapter):
    """A `Provider` for OpenAI's Responses API."""

    default_name = "openai"
    path = "/responses"

    def _connect(self, access: Access) -> Connection:
        from executus.models.openai_client import OpenAIClient  # noqa: PLC0415 - see `load`

        return OpenAIClient(access)

    def _knows_schemas(self, model: str) -> bool:
        return self._access.base_url is None and knows_schemas(model)

    def _content(self, request: ModelRequest) -> bytes:
        return fmt.content(request, self._caller)

    def _draft(self, progress: Progress) -> Draft:
        return _Draft(self._caller, progress)


class _Draft(Draft):
    def __init__(self, caller: Caller, progress: Progress) -> None:
        super().__init__(caller, progress)
        self._done: dict[int, dict[str, object]] = {}
        self._response: dict[str, object] = {}
        self._kind = ""

    def take(self, event: dict[str, object]) -> None:
        kind = text(event.get("type"))
        if kind == "error":
            raise from_payload(event, provider=self._caller.provider, secrets=self._caller.secrets)
        if kind in TERMINAL:
            self._kind, self._response = kind, obj(event.get("response"))
        elif kind == "response.output_item.done":
            index = event.get("output_index")
            position = index if isinstance(index, int) else len(self._done)
            self._done[position] = obj(event.get("item"))
        elif kind.endswith(".delta"):
            piece = text(event.get("delta"))
            self.count(piece)
            if kind == "response.output_text.delta" and piece:
                self._progress(piece)

    @property
    def ended(self) -> bool:
        return bool(self._kind)

    def reply(self, asked: str, sent: int) -> ModelReply:
        stop = self._stop()
        # The terminal event repeats every item, cut ones included; some servers leave it empty.
        output = items(self._response.get("output")) or [
            self._done[index] for index in sorted(self._done)
        ]
        if stop == "end" and any(map(_cut_call, output)):
            raise incomplete(self._caller, "a tool call of the response is incomplete")
        parts = tuple(part for i, item in enumerate(output) for part in self._parts(i, item))
        message = Message(role="assistant", parts=parts)
        if stop == "end" and any(_refuses(item) for item in output):
            stop = "refusal"
        elif stop == "end" and message.tool_calls:
            stop = "tool_calls"
        usage = self.metered(_usage(obj(self._response.get("usage"))), sent, message)
        return ModelReply(message, stop, usage, text(self._response.get("model")) or asked)

    def _stop(self) -> StopReason:
        match self._ending():
            case "completed":
                return "end"
            case "incomplete":
                reason = text(obj(self._response.get("incomplete_details")).get("reason"))
                if (stop := STOPS.get(reason.lower(), "end")) != "end":
                    return stop
                raise incomplete(self._caller, f"the response is incomplete: {reason or '?'}")
            case "failed":
                error = {"error": obj(self._response.get("error"))}
                caller = self._caller
                raise from_payload(error, provider=caller.provider, secrets=caller.secrets)
            case "cancelled":
                raise incomplete(self._caller, "the response was cancelled")
            case _:
                raise incomplete(self._caller, "the stream ended without a terminal event")

    def _ending(self) -> str:
        """How it ended: some servers have one event for every ending, and tell by the status."""
        kind = self._kind.removeprefix("response.")
        status = text(self._response.get("status"))
        return status if kind and status in ENDED_OTHERWISE else kind

    def _parts(self, position: int, item: dict[str, object]) -> tuple[Part, ...]:
        match item.get("type"):
            case "message":
                return _message(item, self._caller)
            case "reasoning":
                shown = "\n\n".join(text(s.get("text")) for s in items(item.get("summary")))
                return thinking_parts(fmt.FORMAT, shown, item, origin(self._caller))
            case "function_call":
                name, arguments = text(item.get("name")), arguments_text(item.get("arguments"))
                call_id = text(item.get("call_id"))
                return (call_part(position, call_id, name, arguments),)
            case _:
                return ()


def _message(item: dict[str, object], caller: Caller) -> tuple[Part, ...]:
    content = items(item.get("content"))
    shown = "".join(text(c.get("text")) or text(c.get("refusal")) for c in content)
    parts = text_parts(shown)
    phase = item.get(fmt.PHASE)
    if not parts or not isinstance(phase, str):
        return parts
    label = {"type": fmt.PHASE, fmt.PHASE: phase}
    return (*thinking_parts(fmt.FORMAT, "", label, origin(caller)), *parts)


def _refuses(item: dict[str, object]) -> bool:
    return any(c.get("type") == "refusal" for c in items(item.get("content")))


def _cut_call(item: dict[str, object]) -> bool:
    return item.get("type") == "function_call" and item.get("status") == "incomplete"


def _usage(raw: dict[str, object]) -> Usage:
    details = obj(raw.get("input_tokens_details"))
    return Usage(
        input_tokens=count(raw.get("input_tokens")),
        output_tokens=count(raw.get("output_tokens")),
        cache_read_tokens=count(details.get("cached_tokens")),
        cache_write_tokens=count(details.get("cache_write_tokens")),
        reasoning_tokens=count(obj(raw.get("output_tokens_details")).get("reasoning_tokens")),
        model_calls=1,
    )
