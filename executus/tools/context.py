"""ToolContext: what a tool may know of the run that calls it, and what it may ask for."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from executus.contracts import RunState, ToolInput
from executus.errors import ToolError
from executus.images import MAX_IMAGE_BYTES, checked_image
from executus.message import ImagePart
from executus.sanitize import cap_text, clean_json, clean_line
from executus.steer import TOOL_STEER, TOOL_STEER_BYTES
from executus.tools.run_files import RunFiles

T = TypeVar("T")

MIN_SECRET = 6
"""Characters below which a value is not looked for in results: it would match by accident."""

Heartbeat = Callable[..., None]
"""Takes details; called on the worker's event loop."""


class Secrets:
    """Named secrets that tools on this worker may read: an allow-list over a mapping."""

    def __init__(
        self,
        allowed: Iterable[str] = (),
        source: Mapping[str, str] | None = None,
        hidden: Iterable[str] = (),
        written: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Allow the names in `allowed`; values come from `source`, else the environment.

        Those in `hidden` are taken out of texts too, and handed to nobody. So are the values in
        `written`, each with what to call it.
        """
        self._written = tuple(written)
        self._allowed = tuple(sorted(set(allowed)))
        self._hidden = tuple(sorted({*self._allowed, *hidden}))
        self._source = os.environ if source is None else source

    def __repr__(self) -> str:
        return f"Secrets(allowed={list(self._allowed)})"

    def get(self, name: str) -> str:
        """The value of `name`.

        Raises:
            ToolError: for a name that is not allowed or has no value; never with a value in it.
        """
        value = self._source.get(name) if name in self._allowed else None
        if value:
            return value
        problem = "is not set on this worker" if name in self._allowed else "is not allowed"
        known = ", ".join(self._allowed) or "none"
        raise ToolError(f"secret {clean_line(name, 64)!r} {problem}; allowed secrets: {known}")

    def hide(self, text: str) -> str:
        """`text` without any known secret's value, as it is, URL-quoted or JSON-escaped."""
        forms: dict[str, str] = {}
        named = [(name, self._source.get(name, "")) for name in self._hidden]
        for name, value in (*named, *self._written):
            if len(value) >= MIN_SECRET:
                escaped = json.dumps(value, ensure_ascii=False)[1:-1]
                for form in (value, quote(value, safe=""), escaped):
                    forms.setdefault(form, name)
        # The longest first: one that another begins with would leave the rest of that one.
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, f"[secret:{forms[form]}]")
        return text


def _silent(*details: object) -> None:
    """A heartbeat that nobody hears: outside of a worker."""


def _loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _first_call() -> RunState:
    return RunState(
        iteration=1, max_iterations=1, tool_calls=1, seconds_elapsed=0.0, seconds_left=60.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """Annotate a parameter with it and it is filled in; the model never sees that parameter.

    Identity comes from here, never from arguments: those are a model's words. Only `run_id` and
    `call_id` must be given, so a tool is easily called in a test.
    """

    run_id: str
    """The run."""
    call_id: str
    """The model's call."""
    step_id: str = ""
    """The step."""
    caller_id: str = "anonymous"
    """Who asks."""
    tenant_id: str = ""
    """Their organisation; empty = none."""
    channel_id: str = ""
    """Where it was asked."""
    agent_id: str = ""
    """What runs."""
    attempt: int = 1
    """Attempt of this call, from 1."""
    idempotency_key: str = ""
    """The same for every attempt of this call, different for every other call."""
    state: RunState = field(default_factory=_first_call)
    """The run when the call was dispatched."""
    secrets: Secrets = field(default_factory=Secrets, repr=False)
    """Ask `secret(name)`."""
    files: RunFiles = field(default_factory=RunFiles)
    """The run's files: attached ones, whole results, what tools put."""
    result_bytes: int = 65_536
    """Bytes of the result that enter the conversation; what is longer is cut."""
    image_bytes: int = MAX_IMAGE_BYTES
    """Bytes of the images that this call may attach."""
    images: list[ImagePart] = field(default_factory=list[ImagePart], repr=False)
    """Use `attach_image()`: what is here is shown to the model."""
    beat: Heartbeat = field(default=_silent, repr=False)
    """Use `heartbeat()`: it may be called from any thread."""
    said: list[str] = field(default_factory=list[str], repr=False)
    """Use `steer()`."""
    _started: float = field(default_factory=time.monotonic, init=False, repr=False)
    _home: asyncio.AbstractEventLoop | None = field(default_factory=_loop, init=False, repr=False)

    @classmethod
    def of(
        cls,
        call: ToolInput,
        *,
        attempt: int,
        beat: Heartbeat = _silent,
        secrets: Secrets | None = None,
        files: RunFiles | None = None,
        image_bytes: int = 0,
    ) -> "ToolContext":
        """The context of one attempt at `call`; make it on the event loop that `beat` needs."""
        return cls(
            run_id=call.key.run_id,
            call_id=call.call_id,
            step_id=call.step_id,
            caller_id=call.caller_id,
            tenant_id=call.tenant_id,
            channel_id=call.channel_id,
            agent_id=call.agent_id,
            attempt=attempt,
            idempotency_key=call.idempotency_key,
            state=call.state,
            secrets=secrets or Secrets(),
            files=files or RunFiles(),
            result_bytes=call.result_bytes,
            image_bytes=image_bytes,
            beat=beat,
        )

    @property
    def iterations_left(self) -> int:
        """Model turns after this one."""
        return max(0, self.state.max_iterations - self.state.iteration)

    @property
    def seconds_left(self) -> float:
        """Until the run's deadline, counting down; 0 when it has passed."""
        return max(0.0, self.state.seconds_left - (time.monotonic() - self._started))

    def secret(self, name: str) -> str:
        """The worker's secret `name`; its value is taken out of results and errors again.

        Raises:
            ToolError: for a name that is not allowed or has no value.
        """
        return self.secrets.get(name)

    def steer(self, text: str) -> None:
        """Say something to the agent besides the result: a user message before its next turn.

        Delivered with the result of the attempt that brings it, whatever that is. From any thread.

        Raises:
            ToolError: this call has said too much already.
        """
        if len(self.said) >= TOOL_STEER:
            raise ToolError(f"a call may send at most {TOOL_STEER} steer messages")
        if text.strip():
            self.said.append(cap_text(self.secrets.hide(text), TOOL_STEER_BYTES).text)

    def heartbeat(self, *details: object) -> None:
        """Tell Temporal that the tool is alive, with details for people. From any thread."""
        call = partial(self.beat, *(clean_json(detail) for detail in details))
        if self._home is None or self._home is _loop():
            call()
        else:
            # Temporal's heartbeat of an async activity makes a task: only its own loop may do that.
            self._home.call_soon_threadsafe(call)

    def attach_image(self, data: bytes, mime: str | None = None) -> None:
        """Show the model an image: PNG, JPEG, GIF or WebP, before its next turn.

        The content says which; a `mime` that is given must agree with it.

        Raises:
            ToolError: it is none of them, or too much for one call.
        """
        self.images.append(checked_image(data, mime, self.images, self.image_bytes))

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """The outcome of a coroutine, for a plain tool: `context.wait(context.files.read(id))`.

        Raises:
            RuntimeError: called on the event loop, in an async tool: await it there.
        """
        if self._home is None or self._home is _loop():
            work.close()
            raise RuntimeError("context.wait is for plain tools: in an async one, await it")
        return asyncio.run_coroutine_threadsafe(work, self._home).result()
