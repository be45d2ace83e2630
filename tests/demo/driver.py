"""A run without Temporal: the offline model and the tools, in a loop."""

from typing import NamedTuple

from executus.demo import OfflineProvider
from executus.message import Message, ToolCallPart, ToolResultPart
from executus.models.provider import ModelReply, ModelRequest, WireMessage
from executus.tools import Registry, ToolContext
from executus.tools.caller import Caller
from executus.tools.invoke import invoke
from executus.tools.run_files import RunFiles

MAX_TURNS = 8


class Run(NamedTuple):
    answer: str
    turns: list[list[ToolCallPart]]
    results: list[ToolResultPart]
    replies: list[ModelReply]

    @property
    def tools(self) -> list[str]:
        return [call.name for turn in self.turns for call in turn]


async def run_offline(
    question: str,
    registry: Registry,
    result_bytes: int = 65_536,
    files: RunFiles | None = None,
) -> Run:
    tools = registry.grant(
        [tool.name for tool in registry],
        caller=Caller("tester"),
        visibility="private",
        default_result_bytes=result_bytes,
    )
    messages = [Message.user(question)]
    run = Run("", [], [], [])
    for _ in range(MAX_TURNS):
        request = ModelRequest(
            model="script",
            system_prompt="You answer questions about files.",
            messages=[WireMessage(message) for message in messages],
            tools=tools,
        )
        # A new provider for every turn: nothing may be kept between them.
        reply = await OfflineProvider().complete(request, lambda text: None)
        run.replies.append(reply)
        messages.append(reply.message)
        calls = list(reply.message.tool_calls)
        if not calls:
            return run._replace(answer=reply.message.text)
        run.turns.append(calls)
        for call in calls:
            tool = registry.get(call.name)
            assert tool is not None
            context = ToolContext(
                run_id="run", call_id=call.id, files=files, result_bytes=result_bytes
            )
            part, _ = await invoke(
                tool, call.arguments, context, result_bytes=result_bytes, last_attempt=True
            )
            run.results.append(part)
            messages.append(Message(role="tool", parts=(part,)))
    raise AssertionError("no answer")
