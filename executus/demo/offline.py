"""The offline model: a fixed script that drives the demo's tools. No language model is in it.

It keeps nothing between calls. Where it stands follows from the messages alone, so it goes on
wherever a crash, a replay or another worker left the run, and says the same every time.
"""

import asyncio
from collections.abc import Sequence

from executus.demo.script import Turn, next_turn
from executus.demo.view import view_of
from executus.errors import ModelError
from executus.estimate import message_tokens, text_tokens
from executus.message import Message, Part, TextPart, ToolCallPart
from executus.models.provider import ModelReply, ModelRequest, Progress
from executus.submit import SUBMIT
from executus.usage import Usage

PIECE = 40
"""Characters of one piece of progress."""


class OfflineProvider:
    """A model provider called `offline`, for demos and first steps without a key."""

    name = "offline"

    def __init__(self, pause: float = 0.0) -> None:
        """Take `pause` seconds for every turn, so that people can watch."""
        self._pause = pause

    async def complete(self, request: ModelRequest, progress: Progress) -> ModelReply:
        """The script's next turn.

        Raises:
            ModelError: `unsupported` where a result in a schema is wanted: a script cannot fill in
                any shape.
        """
        if any(tool.name == SUBMIT for tool in request.tools):
            raise ModelError(
                "the offline model is a script: it cannot answer in a schema", fault="unsupported"
            )
        messages = [wired.message for wired in request.messages]
        tools = () if request.tool_choice == "none" else tuple(t.name for t in request.tools)
        turn = next_turn(view_of(messages), tools)
        for start in range(0, len(turn.text), PIECE):
            progress(turn.text[start : start + PIECE])
        await asyncio.sleep(self._pause)
        message = _message(turn, len(messages))
        return ModelReply(
            message=message,
            stop="tool_calls" if turn.calls else "end",
            usage=_usage(request, messages, message),
            model=request.model,
        )

    async def close(self) -> None:
        """Nothing to release."""


def _message(turn: Turn, position: int) -> Message:
    parts: list[Part] = [TextPart(text=turn.text)]
    for i, call in enumerate(turn.calls, start=1):
        parts.append(
            ToolCallPart(id=f"offline_{position}_{i}", name=call.name, arguments=call.arguments)
        )
    return Message(role="assistant", parts=tuple(parts))


def _usage(request: ModelRequest, messages: Sequence[Message], reply: Message) -> Usage:
    """Estimated from lengths: a script has no tokens."""
    definitions = "".join(f"{t.name}{t.description}{t.parameters}" for t in request.tools)
    sent = text_tokens(request.system_prompt + definitions)
    return Usage(
        input_tokens=sent + sum(message_tokens(message) for message in messages),
        output_tokens=message_tokens(reply),
        model_calls=1,
    )
