"""Run one attempt of a tool call and turn whatever happens into a result for the model.

Arguments are checked before the function runs. What it returns or raises comes out cleaned, without
known secrets, and within its bound; nothing it does can end the worker, or the run.
"""

import asyncio
import inspect
import logging
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import PurePath
from typing import Any, NamedTuple, cast

from executus.errors import ToolError, ToolLost, ToolRetry
from executus.images import json_room, text_room
from executus.jsontext import ArgumentsError
from executus.message import ImagePart, ToolOutcome, ToolResultPart
from executus.redact import Redactor
from executus.sanitize import Capped, clean_line, clean_text
from executus.scrub import cut_paths, cut_urls
from executus.tools.context import ToolContext
from executus.tools.tool import MAX_RESULT, Tool
from executus.tools.value import NotAResult, cap_result, result_text

REDACTOR = Redactor()
TRANSIENT = (ToolRetry, ConnectionError, TimeoutError)
"""What another attempt may cure."""
MAX_ERROR = 1_000
"""Characters of an unexpected error's message."""
MAX_TOOL_ERROR = 16_384
"""Bytes of a message that the tool's author wrote for the model."""
SMALL = 65_536
"""Characters of a text that may be cleaned on the event loop; more goes to a thread."""
FRAMES = 6
"""Innermost frames named in the log."""
ATTACHED = "attached below"
"""What the model reads when a tool returned nothing but images."""
UNSURE = "\nThe call may have taken effect: verify before trying it again."

logger = logging.getLogger(__name__)


class Invoked(NamedTuple):
    """What one attempt brought."""

    part: ToolResultPart
    """The result, within its bound."""
    whole: str | None = None
    """All of its text, when it had to be cut."""


async def invoke(
    tool: Tool,
    arguments: str,
    context: ToolContext,
    *,
    result_bytes: int,
    last_attempt: bool,
    redactor: Redactor = REDACTOR,
) -> Invoked:
    """Run `tool` with the model's `arguments`; no timeout of its own.

    Args:
        tool: What to run.
        arguments: JSON text as the model wrote it.
        context: Handed to the tool if it asks for one.
        result_bytes: Bound of the result's text, at most 524,288.
        last_attempt: No other attempt will follow, so a transient failure becomes a result.
        redactor: Policy for error messages.

    Raises:
        ToolRetry: a `pure` or `idempotent` tool failed in a way that another attempt may cure.
        asyncio.CancelledError: the activity was cancelled.
    """
    limit = min(result_bytes, MAX_RESULT)
    try:
        values = tool.parse(arguments, redactor)
    except ArgumentsError as exc:
        message = f"invalid arguments for {tool.name}: {exc}"
        return Invoked(_part(tool, context, cap_result(message, limit), "error"))
    except Exception as exc:  # noqa: BLE001 - a validator of the host's: whatever it raises
        return _failed(tool, context, exc, limit, redactor)
    try:
        value = _shown(await _call(tool, values, context), context)
        capped, whole = await _render(value, context, limit)
    except asyncio.CancelledError as exc:
        if _is_cancelled():
            raise
        return _failed(tool, context, exc, limit, redactor)
    except TRANSIENT as exc:
        if tool.effect != "once" and not last_attempt:
            # From here it goes into history, where neither secrets nor a traceback belong.
            raise ToolRetry(clean_line(_words(exc, context, redactor), MAX_ERROR)) from None
        return _failed(tool, context, exc, limit, redactor)
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - the tool's own code: whatever it raises
        return _failed(tool, context, exc, limit, redactor)
    return Invoked(_part(tool, context, capped, "ok"), whole)


def _is_cancelled() -> bool:
    """Whether somebody cancelled us, and not the tool a task of its own."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def _call(tool: Tool, values: dict[str, Any], context: ToolContext) -> object:
    injected = dict.fromkeys(tool.arguments.context, context)
    call = partial(tool.function, **values, **injected)
    if inspect.iscoroutinefunction(tool.function):
        return await call()
    value = await asyncio.to_thread(_in_thread, call)
    # A plain function may still hand out a coroutine: one wrapped by a decorator does.
    return await value if inspect.isawaitable(value) else value


def _in_thread(call: "partial[object]") -> object:
    try:
        return call()
    except StopIteration:
        # A future refuses to carry it, and whoever awaits that future would wait for ever.
        raise RuntimeError("the tool raised StopIteration") from None


def _shown(value: object, context: ToolContext) -> object:
    """What is left of a returned value without its images, which are attached."""
    if isinstance(value, ImagePart):
        context.attach_image(value.data, value.mime)
        return ATTACHED
    if not isinstance(value, list | tuple):
        return value
    items = cast("Sequence[object]", value)
    images = [item for item in items if isinstance(item, ImagePart)]
    if not images:
        return items
    for image in images:
        context.attach_image(image.data, image.mime)
    rest = [item for item in items if not isinstance(item, ImagePart)]
    return rest[0] if len(rest) == 1 else rest or ATTACHED


async def _render(value: object, context: ToolContext, limit: int) -> tuple[Capped, str | None]:
    if isinstance(value, str) and len(value) <= SMALL:
        return _rendered(value, context, limit)
    return await asyncio.to_thread(_rendered, value, context, limit)


def _rendered(value: object, context: ToolContext, limit: int) -> tuple[Capped, str | None]:
    text = context.secrets.hide(result_text(value))
    images = context.images
    capped = cap_result(text, text_room(limit, images), json_limit=json_room(limit, images))
    return capped, text if capped.truncated else None


def _failed(
    tool: Tool, context: ToolContext, exc: BaseException, limit: int, redactor: Redactor
) -> Invoked:
    text = _words(exc, context, redactor)
    outcome: ToolOutcome = "error"
    if isinstance(exc, ToolLost) and tool.effect != "pure":
        text, outcome = text + UNSURE, "unknown"
    elif not isinstance(exc, ToolError):
        _log(tool, context, exc, text)
        if tool.effect == "once":
            text += UNSURE
    return Invoked(_part(tool, context, cap_result(text, min(limit, MAX_TOOL_ERROR)), outcome))


def _words(exc: BaseException, context: ToolContext, redactor: Redactor) -> str:
    """The message of an error, fit for the model and for history."""
    try:
        message = str(exc)
    except Exception:  # noqa: BLE001 - an exception that cannot even be printed
        message = ""
    if isinstance(exc, ToolError):
        message = clean_text(context.secrets.hide(message[: MAX_TOOL_ERROR * 4]))
        return redactor.text(message)[:MAX_TOOL_ERROR] or type(exc).__name__
    name = clean_line(type(exc).__name__, 80)
    if isinstance(exc, NotAResult):
        return f"the tool {message}"
    # Hidden before it is cut: half a secret is one that nothing recognises.
    message = context.secrets.hide(message[: MAX_ERROR * 4])
    message = cut_paths(redactor.text(cut_urls(message)))
    line = clean_line(message, MAX_ERROR)
    return f"{name}: {line}" if line else name


def _log(tool: Tool, context: ToolContext, exc: BaseException, text: str) -> None:
    """One line. Places but no values: a traceback's last line would repeat the bare message."""
    frames = [
        f"{PurePath(frame.f_code.co_filename).name}:{line}"
        for frame, line in traceback.walk_tb(exc.__traceback__)
    ][-FRAMES:]
    logger.warning(
        "tool %s failed in run %s, step %s, attempt %d: %s (at %s)",
        tool.name,
        clean_line(context.run_id, 255),
        context.step_id,
        context.attempt,
        clean_line(text, MAX_ERROR),
        " > ".join(frames),
    )


def _part(tool: Tool, context: ToolContext, text: Capped, outcome: ToolOutcome) -> ToolResultPart:
    return ToolResultPart(
        call_id=context.call_id,
        name=tool.name,
        text=text.text,
        outcome=outcome,
        bytes=text.bytes,
        digest=text.digest,
        truncated=text.truncated,
    )
