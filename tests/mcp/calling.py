"""Call a server's tool as a worker would, without Temporal."""

from typing import Any

from executus.contracts import RunKey, ToolInput
from executus.mcp.source import McpSource
from executus.message import ToolResultPart
from executus.plan import ToolDef
from executus.tools.context import _first_call
from executus.tools.invoke import invoke
from tests.tools.calls import context


async def definition(source: McpSource, server: str, tool: str) -> ToolDef:
    return (await source.listing(server)).definition(tool, 65_536)


async def call(
    source: McpSource, granted: ToolDef, arguments: str = "{}", *, last: bool = True, **values: Any
) -> ToolResultPart:
    step = ToolInput(
        key=RunKey(run_id="run-1", workflow_run_id="w"),
        step_id="m1.t1",
        call_id="call-1",
        arguments=arguments,
        schema_digest=granted.digest,
        idempotency_key="run-1/m1.t1",
        result_bytes=granted.result_bytes,
        source=granted.source,
        effect=granted.effect,
        agent_id="a",
        caller_id="ann",
        state=_first_call(),
    )
    tool = source.tool(granted.name, step)
    assert tool is not None
    done = await invoke(
        tool,
        arguments,
        context(idempotency_key=step.idempotency_key, **values),
        result_bytes=step.result_bytes,
        last_attempt=last,
    )
    return done.part
