"""Call a tool as a worker would, without Temporal."""

from typing import Any

from executus.message import ToolResultPart
from executus.tools import Tool, ToolContext
from executus.tools.invoke import invoke


def context(**values: Any) -> ToolContext:
    return ToolContext(**{"run_id": "run-1", "call_id": "call-1", **values})


async def call(
    tool: Tool,
    arguments: str = "{}",
    *,
    result_bytes: int = 65_536,
    last_attempt: bool = True,
    **values: Any,
) -> ToolResultPart:
    done = await invoke(
        tool,
        arguments,
        context(**values),
        result_bytes=result_bytes,
        last_attempt=last_attempt,
    )
    return done.part
