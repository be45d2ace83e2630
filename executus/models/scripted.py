"""A model that says what you wrote: for tests, demonstrations and offline work.

    from executus.models.scripted import Scripted, call, calls, fail, say

    Scripted({
        "weather": [call("get_weather", city="Oslo"), say("Rain.")],
        "echo": lambda request: say(request.messages[-1].message.text),
    })

Use it as the model `scripted/weather`. The answer is chosen by the number of assistant messages
in the request, never by a counter: a retried, replayed or concurrent call gets the same answer,
and one provider object serves any number of runs. Compaction removes assistant messages, and with
them the place in the script; give a run that compacts a function instead of a list, and its
summary tier a script of its own.
"""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from executus.errors import ModelError, ModelFault
from executus.message import Message, Part, TextPart, ToolCallPart
from executus.models.provider import ModelReply, ModelRequest, Progress, StopReason, WireMessage
from executus.sanitize import clean_text
from executus.usage import Usage

CHARS_PER_TOKEN = 4
MAX_REMEMBERED = 10_000
"""Calls whose failures are counted for `fail(times=...)`; the oldest is forgotten first."""


@dataclass(frozen=True, slots=True)
class Say:
    """A reply; make it with `say`, `call` or `calls`."""

    text: str = ""
    """Its text, before any tool calls."""
    tool_calls: tuple[tuple[str, str], ...] = ()
    """Name and JSON arguments of each tool call."""
    stop: StopReason | None = None
    """Why it stops; None follows from the tool calls."""
    delay: float = 0.0
    """Seconds before it comes."""
    usage: Usage | None = None
    """What it cost; None counts characters."""


@dataclass(frozen=True, slots=True)
class Fail:
    """A failure; make it with `fail`."""

    fault: ModelFault
    """Its class."""
    message: str = ""
    """For people."""
    retry_after: float | None = None
    """Seconds the provider asks to wait."""
    status_code: int | None = None
    """HTTP status."""
    sent: bool = True
    """Whether the request reached the provider."""
    times: int = 1
    """How many attempts fail before `then`."""
    then: "Reply | None" = None
    """What the attempts after that get; None fails for ever."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Never answers; make it with `hang`."""


Function = Callable[[ModelRequest], "Reply | Awaitable[Reply]"]
Reply = Say | Fail | Hang | str
"""What a script holds, or a function makes. A text is short for `say(text)`."""
Script = Sequence["Reply | Function"] | Function
"""Replies in the order of the model's turns, or one function for all of them."""


def say(
    text: str,
    *,
    stop: StopReason | None = None,
    delay: float = 0.0,
    usage: Usage | None = None,
) -> Say:
    """Answer with `text`, after `delay` seconds."""
    return Say(text=text, stop=stop, delay=delay, usage=usage)


def call(tool: str, /, **arguments: JsonValue) -> Say:
    """Ask for one tool call: `call("add", a=1, b=2)`."""
    return calls((tool, arguments))


def calls(
    *requests: tuple[str, Mapping[str, JsonValue] | str], text: str = "", delay: float = 0.0
) -> Say:
    """Ask for several tool calls at once. Arguments given as a text go out as they are."""
    made = tuple((name, a if isinstance(a, str) else json.dumps(a)) for name, a in requests)
    return Say(text=text, tool_calls=made, delay=delay)


def fail(
    fault: ModelFault,
    message: str = "",
    *,
    retry_after: float | None = None,
    status_code: int | None = None,
    sent: bool = True,
    times: int = 1,
    then: Reply | None = None,
) -> Fail:
    """Fail with `fault`: for ever, or the first `times` attempts of a run's call before `then`.

    Attempts are counted per run (its cache key) and position, in this process.
    """
    return Fail(fault, message, retry_after, status_code, sent, times, then)


def hang() -> Hang:
    """Never answer: the call ends by its own timeout, or when it is cancelled."""
    return Hang()


def echo(request: ModelRequest) -> Say:
    """The script every `Scripted` has: it says what it was last told."""
    return say(request.messages[-1].message.text if request.messages else "")


class Scripted:
    """A `Provider` that follows scripts; the model name is the script's name."""

    def __init__(
        self,
        scripts: Mapping[str, Script] | None = None,
        *,
        name: str = "scripted",
        native_schema: bool = True,
    ) -> None:
        """`scripts` is read at each call, so a test may add to the mapping it passed.

        `native_schema`: whether an answer in a schema is asked for as of a provider that has means
        for it; False: as of one that has not, by the tool `submit`.
        """
        self._name = name
        self._native_schema = native_schema
        self._scripts: Mapping[str, Script] = {} if scripts is None else scripts
        self._failed: dict[tuple[str, str, int], int] = {}

    @property
    def name(self) -> str:
        """The part of a spec before the first slash."""
        return self._name

    def takes_schema(self, model: str, schema: Mapping[str, JsonValue]) -> bool:
        """See `executus.models.provider.TakesSchema`."""
        del model, schema
        return self._native_schema

    async def complete(self, request: ModelRequest, progress: Progress) -> ModelReply:
        """Answer from the script; see `Provider.complete`.

        Raises:
            ModelError: what the script says; `script_exhausted` when it has no more replies;
                `not_found` for an unknown script; `timeout` when a reply takes too long.
        """
        reply = await self._reply(request)
        try:
            async with asyncio.timeout(request.timeout):
                await _wait(reply)
        except TimeoutError:
            reply = Fail("timeout", f"no answer within {request.timeout:g} s")
        if isinstance(reply, Fail):
            raise ModelError(
                f"{self._name}: {reply.message or reply.fault}",
                fault=reply.fault,
                retry_after=reply.retry_after,
                status_code=reply.status_code,
                sent=reply.sent,
            )
        return _reply(reply, request, progress)

    async def close(self) -> None:
        """Nothing to release."""

    async def _reply(self, request: ModelRequest) -> Say | Fail | Hang:
        entry = self._entry(request)
        try:
            made = entry(request) if callable(entry) else entry
            reply = await made if inspect.isawaitable(made) else made
        except ModelError:
            raise
        except Exception as error:  # noqa: BLE001 - the script is the user's code
            told = f"the script {request.model!r} raised {type(error).__name__}: {error}"
            return Fail("request_rejected", told)
        return self._settle(reply, request)

    def _entry(self, request: ModelRequest) -> "Reply | Function":
        default: Script | None = echo if request.model == "echo" else None
        script = self._scripts.get(request.model, default)
        if script is None:
            known = ", ".join(sorted({"echo", *self._scripts}))
            return Fail("not_found", f"no script {request.model!r}; there are: {known}")
        if callable(script):
            return script
        position = _position(request.messages)
        if position < len(script):
            return script[position]
        told = f"the script {request.model!r} has {len(script)} replies, turn {position + 1} came"
        return Fail("script_exhausted", told)

    def _settle(self, reply: Reply, request: ModelRequest) -> Say | Fail | Hang:
        """Follow `Fail.then` as far as this run's earlier attempts of this call allow."""
        if isinstance(reply, str):
            return say(reply)
        if not isinstance(reply, Fail) or reply.then is None:
            return reply
        key = (request.model, request.cache_key, _position(request.messages))
        left = total = self._failed.pop(key, 0)
        while isinstance(reply, Fail) and reply.then is not None and left >= reply.times:
            left -= reply.times
            reply = reply.then
        if isinstance(reply, Fail):
            self._remember(key, total + 1)
        return say(reply) if isinstance(reply, str) else reply

    def _remember(self, key: tuple[str, str, int], failed: int) -> None:
        self._failed[key] = failed
        while len(self._failed) > MAX_REMEMBERED:
            del self._failed[next(iter(self._failed))]


def _position(messages: Sequence[WireMessage]) -> int:
    return sum(wire.message.role == "assistant" for wire in messages)


async def _wait(reply: Say | Fail | Hang) -> None:
    match reply:
        case Say(delay=delay) if delay > 0:
            await asyncio.sleep(delay)
        case Hang():
            await asyncio.Event().wait()
        case _:
            await asyncio.sleep(0)


def _reply(reply: Say | Hang, request: ModelRequest, progress: Progress) -> ModelReply:
    reply = reply if isinstance(reply, Say) else Say()
    for piece in reply.text.splitlines(keepends=True):
        progress(piece)
    position = _position(request.messages)
    text = clean_text(reply.text)  # as every adapter does: a message takes no lone surrogate
    parts: list[Part] = [TextPart(text=text)] if text else []
    parts += [
        ToolCallPart(id=f"call_{position}_{i}", name=name, arguments=arguments)
        for i, (name, arguments) in enumerate(reply.tool_calls)
    ]
    stop = reply.stop or ("tool_calls" if reply.tool_calls else "end")
    message = Message(role="assistant", parts=tuple(parts))
    usage = reply.usage or _usage(request, message)
    return ModelReply(message, stop, usage, request.model)


def _usage(request: ModelRequest, message: Message) -> Usage:
    sent = len(request.system_prompt) + sum(
        len(tool.name) + len(tool.description) + len(json.dumps(tool.parameters))
        for tool in request.tools
    )
    sent += sum(_characters(wire.message) for wire in request.messages)
    return Usage(
        input_tokens=1 + sent // CHARS_PER_TOKEN,
        output_tokens=1 + _characters(message) // CHARS_PER_TOKEN,
        model_calls=1,
    )


def _characters(message: Message) -> int:
    return len(message.model_dump_json(exclude={"fold"}))
