"""`tool.<name>`: one activity per tool."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from executus.activities.calls import quietly
from executus.activities.conversation import Conversations
from executus.activities.heartbeat import Told, beating
from executus.activities.host import Host
from executus.activities.records import Records
from executus.activities.skill import skill_tool
from executus.activities.spill import spill
from executus.contracts import TOOL_PREFIX, ToolInput, ToolOutput, tool_activity
from executus.digest import digest
from executus.files import FileScope
from executus.images import attached_message, json_room, text_room
from executus.message import Message, ToolOutcome, ToolResultPart
from executus.metrics import count_tool_call
from executus.rows import hidden, in_phase, tool_row
from executus.steer import TOOL_STEER
from executus.summary import summarize_call, summarize_result
from executus.tools import Tool, ToolContext
from executus.tools.invoke import invoke
from executus.tools.read_more import read_more
from executus.tools.run_files import RunFiles
from executus.tools.tool import MAX_RESULT

SPILL_SECONDS = 8.0
"""For keeping a whole result, beside what the tool left of its own time: below `TOOL_SLACK` of
`executus.workflows.tool_calls`, after which Temporal takes the worker for dead."""
LOCAL_SPILL_SECONDS = 3.0
"""The same inside a workflow task, which must answer the server within 10 s."""

NOT_FOUND = "NotFoundError"
"""What the SDK calls the failure of an activity that a worker does not have."""


class ToolActivities:
    """Runs a host's tools."""

    def __init__(self, host: Host, conversations: Conversations, records: Records) -> None:
        self._host = host
        self._conversations = conversations
        self._records = records

    def activities(self) -> list[Callable[..., Awaitable[ToolOutput]]]:
        """One for each tool of the registry and of executus, and one for those of MCP servers."""
        built_in = skill_tool(self._host, self._conversations)
        own: list[Callable[..., Awaitable[ToolOutput]]] = [
            self._activity(tool) for tool in (*self._host.tools, built_in)
        ]
        return [*own, self._dynamic()] if self._host.mcp else own

    def _dynamic(self) -> Callable[[Sequence[RawValue]], Awaitable[ToolOutput]]:
        """The activity of every name that the worker does not know."""

        @activity.defn(dynamic=True)
        async def run_named(arguments: Sequence[RawValue]) -> ToolOutput:
            name = activity.info().activity_type
            if name.startswith(TOOL_PREFIX) and len(arguments) == 1:
                payload = arguments[0].payload
                step: ToolInput = activity.payload_converter().from_payload(payload, ToolInput)
                tool = self._host.mcp.tool(name.removeprefix(TOOL_PREFIX), step)
                if tool is not None:
                    return await self._run(tool, step)
            text = f"Activity function {name} is not registered on this worker"
            raise ApplicationError(text, type=NOT_FOUND)

        return run_named

    def _activity(self, tool: Tool) -> Callable[[ToolInput], Awaitable[ToolOutput]]:
        @activity.defn(name=tool_activity(tool.name))
        async def run_tool(step: ToolInput) -> ToolOutput:
            return await self._run(tool, step)

        return run_tool

    async def _run(self, tool: Tool, step: ToolInput) -> ToolOutput:
        """One attempt: failures are results.

        Only a transient one of a tool that may run again, and a cancel, leave as exceptions.
        """
        begun = time.monotonic()
        attempt = activity.info().attempt
        told = Told()
        context = self._context(tool, step, attempt, told)
        async with contextlib.nullcontext() if activity.info().is_local else beating(told.last):
            result = await self._counted(tool, step, context)
        images = tuple(context.images) if result.outcome == "ok" else ()
        output = ToolOutput(
            result=result,
            summary=summarize_result(result, images=len(images)),
            attempt=attempt,
            images=images,
            files=tuple(context.files.made),
            steer=tuple(context.said[:TOOL_STEER]),
        )
        self._conversations.remember(step.key, Message(role="tool", parts=(result,)))
        if images:
            self._conversations.remember(step.key, attached_message(result, images))
        await self._record(tool, step, output, time.monotonic() - begun)
        return output

    def _context(self, tool: Tool, step: ToolInput, attempt: int, told: Told) -> ToolContext:
        scope = FileScope(
            run_id=step.files_root, caller_id=step.caller_id, tenant_id=step.tenant_id
        )
        store = self._host.ports.files if step.files_root else None
        return ToolContext.of(
            step,
            attempt=attempt,
            beat=told,
            secrets=self._host.secrets,
            files=RunFiles(store, scope, _scopes(step)),
            image_bytes=tool.image_bytes,
        )

    async def _counted(self, tool: Tool, step: ToolInput, context: ToolContext) -> ToolResultPart:
        begun, outcome = time.monotonic(), "retry"
        try:
            result = await self._result(tool, step, context)
            outcome = result.outcome
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            seconds = time.monotonic() - begun
            count_tool_call(activity.metric_meter(), tool.name, outcome, seconds)
        return result

    async def _result(self, tool: Tool, step: ToolInput, context: ToolContext) -> ToolResultPart:
        mine = tool.definition(step.result_bytes)
        if mine.digest != step.schema_digest:
            text = (
                f"`{tool.name}` is not the one this run was granted (its schema changed); not run"
            )
            return _result(step, tool.name, text, "error")
        begun = time.monotonic()
        limit = asyncio.timeout(tool.timeout)
        try:
            async with limit:
                done = await invoke(
                    tool,
                    step.arguments,
                    context,
                    result_bytes=step.result_bytes,
                    last_attempt=context.attempt >= step.attempts,
                    redactor=self._host.redactor,
                )
        except TimeoutError:
            if not limit.expired():
                raise
            return _timed_out(tool, step)
        if done.whole is None or not context.files.wired or tool is read_more:
            return done.part
        left = max(0.0, tool.timeout - (time.monotonic() - begun))
        return await spill(
            done.part,
            done.whole,
            context.files,
            step_id=step.step_id,
            limit=text_room(min(step.result_bytes, MAX_RESULT), context.images),
            json_limit=json_room(min(step.result_bytes, MAX_RESULT), context.images),
            seconds=LOCAL_SPILL_SECONDS if tool.local else left + SPILL_SECONDS,
        )

    async def _record(
        self, tool: Tool, step: ToolInput, output: ToolOutput, seconds: float
    ) -> None:
        """Write the call's row; a store that is down now is made up for by the close."""
        if self._host.ports.audit is None:
            return
        redactor = self._host.redactor
        call = summarize_call(tool.name, step.arguments, tool.secret_arguments, redactor)
        arguments = hidden(step.arguments) if tool.secret_arguments else step.arguments
        row = tool_row(
            step.step_id,
            output.attempt,
            name=tool.name,
            arguments=arguments,
            result=output.result,
            at=datetime.now(UTC),
            seconds=seconds,
            summary=call,
        )
        row = in_phase(row, step.phase)
        await quietly(self._records.record(step.key, row), "audit record")


def _scopes(step: ToolInput) -> list[FileScope]:
    """Whose files can be read besides the run's own."""
    return [
        FileScope(run_id=root, caller_id=step.caller_id, tenant_id=step.tenant_id)
        for root in step.files_also
    ]


def _timed_out(tool: Tool, step: ToolInput) -> ToolResultPart:
    """What the model hears of a tool that took too long: only a pure one surely did nothing."""
    text = f"`{tool.name}` took longer than its {tool.timeout:g} s and was stopped"
    if tool.effect == "pure":
        return _result(step, tool.name, text, "error")
    text += ". It may or may not have taken effect: verify before you try again"
    return _result(step, tool.name, text, "unknown")


def _result(step: ToolInput, name: str, text: str, outcome: ToolOutcome) -> ToolResultPart:
    data = text.encode()
    return ToolResultPart(
        call_id=step.call_id,
        name=name,
        text=text,
        outcome=outcome,
        bytes=len(data),
        digest=digest(data),
    )
