"""Tool calls of one step: in parallel up to a limit, each an activity, failures as results."""

import asyncio
from collections.abc import Mapping, Sequence

from pydantic import JsonValue
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    TimeoutError,  # noqa: A004 - Temporal's own, which is the one that arrives here
    TimeoutType,
    is_cancelled_exception,
)

from executus import contracts
from executus.contracts import RunState, ToolInput, ToolOutput
from executus.data import json_bytes
from executus.digest import digest
from executus.images import attached_message, encoded, json_cap
from executus.jsontext import ArgumentsError, parse_object
from executus.message import Message, ToolCallPart, ToolOutcome, ToolResultPart
from executus.plan import RunPlan, ToolDef
from executus.redact import Redactor
from executus.result import RunResult
from executus.status import Status
from executus.step import StepStatus
from executus.summary import call_line, summarize_call
from executus.workflows.approval import Approval
from executus.workflows.clock import SLACK
from executus.workflows.delegation import OVERHEAD_BYTES, Delegation, Refused, child_text
from executus.workflows.loop import RUN_STATUS
from executus.workflows.perform import QUEUE_WAIT, Options, perform, perform_local
from executus.workflows.run import Run
from executus.workflows.scope import wait_for_end

TOOL_SLACK = 10.0
"""Seconds from a tool's own time-out, kept by the worker, to Temporal's for a dead worker."""
MAX_BATCH_BYTES = 2_500_000
"""Results that may arrive together: Temporal ends a run whose task passes 4 MiB."""
IMAGE_BATCH_BYTES = 1_600_000
"""Images among them."""
AGENT_BATCH_BYTES = 1_600_000
"""Agents of child runs that may start together, beside the 900 KB of a reply's arguments: a task's
commands have the same limit, and each child is sent its agent whole."""
NEVER_LEFT = "stopped before it began; nothing ran"
MAX_KEY = 255
"""Characters of an idempotency key; what Stripe allows."""


def call_step(iteration: int, ordinal: int) -> str:
    """Step id of a call: which one, from 1, of a model turn."""
    return f"m{iteration}.t{ordinal}"


def result_cap(tool: ToolDef) -> int:
    """JSON bytes that one call brings at most; a child's whole result stands in this history."""
    cap = json_cap(tool.result_bytes)
    return max(cap, tool.result_bytes + OVERHEAD_BYTES) if tool.agent else cap


class ToolCalls:
    """Dispatches the calls of a run's model turns; lives in the workflow."""

    def __init__(self, run: Run, plan: RunPlan, redactor: Redactor) -> None:
        self._run = run
        self.plan = plan
        self._redactor = redactor
        self._delegation = Delegation(run, plan)
        self._approval = Approval(run, plan, redactor)
        self._tools = {tool.name: tool for tool in plan.tools}
        cap = max(map(result_cap, plan.tools), default=1)
        shown = max((encoded(tool.image_bytes) for tool in plan.tools), default=0)
        # What brings images goes through a narrower door as well, and the rest has less room.
        room = MAX_BATCH_BYTES - (IMAGE_BATCH_BYTES if shown else 0)
        width = min(plan.bounds.parallel_tools, max(1, room // cap))
        self._parallel = asyncio.Semaphore(width)
        self._with_images = asyncio.Semaphore(max(1, IMAGE_BATCH_BYTES // max(1, shown)))
        sent = max((json_bytes(tool.agent) for tool in plan.tools if tool.agent), default=1)
        self._children = asyncio.Semaphore(max(1, AGENT_BATCH_BYTES // sent))
        self._attached: dict[int, Message] = {}

    async def run(
        self,
        iteration: int,
        calls: Sequence[ToolCallPart],
        results: dict[int, ToolResultPart],
        answers: Mapping[str, ToolResultPart],
    ) -> None:
        """Fill `results` by ordinal, from 1; calls with an answer are only recorded.

        Raises:
            CancelledError: the run is being stopped; what had finished is in `results`.
        """
        self._attached.clear()
        left: list[tuple[int, ToolCallPart]] = []
        for ordinal, call in enumerate(calls, 1):
            if call.id in answers:
                results[ordinal] = self._record(iteration, ordinal, call, answers[call.id])
            else:
                left.append((ordinal, call))
        share = self._delegation.shares([call for _, call in left], self._tools)
        work = [self._call(iteration, ordinal, call, results, share) for ordinal, call in left]
        if len(work) == 1:  # as usual: a waiting run keeps a task and all that gathers it
            await work[0]
            return
        tasks = [asyncio.create_task(one) for one in work]
        # return_exceptions: without it, gather leaves slow tools running behind our back.
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def attached(self) -> list[Message]:
        """What the calls of the last `run` attached, in call order; once."""
        messages = [self._attached[ordinal] for ordinal in sorted(self._attached)]
        self._attached.clear()
        return messages

    def lost(self, step_id: str, call: ToolCallPart) -> ToolResultPart:
        """The answer of a call that a stop cut off; one that still waited its turn never left."""
        ledger = self._run.ledger
        if step_id in ledger.attempts and not ledger.is_open(step_id):
            return ToolResultPart.of(
                call.id, call.name, "the run was stopped; outcome unknown", "unknown"
            )
        if ledger.is_open(step_id):
            self._run.end(step_id, "error", NEVER_LEFT)
        return ToolResultPart.of(call.id, call.name, NEVER_LEFT, "error")

    async def _call(
        self,
        iteration: int,
        ordinal: int,
        call: ToolCallPart,
        results: dict[int, ToolResultPart],
        share: int,
    ) -> None:
        step_id = call_step(iteration, ordinal)
        tool = self._tools.get(call.name)
        hidden = tool is not None and tool.secret_arguments
        given, problem = _arguments(call)
        summary = call_line(call.name, given, hidden, self._redactor)
        kind = contracts.tool_activity(call.name)
        asks = tool is not None and given is not None and self._asks(tool, given)
        if tool is not None and asks:  # outside the limit: a person may take hours
            self._run.begin(step_id, kind, summary)
            if not await self._may_go_on(
                step_id, call, tool, summary=summary, results=results, ordinal=ordinal
            ):
                return
        async with self._parallel:
            if not asks:
                self._run.begin(step_id, kind, summary)
            if tool is None:
                results[ordinal] = self._built_in(step_id, iteration, call, summary)
            elif problem is not None:
                results[ordinal] = ToolResultPart.of(call.id, call.name, problem, "error")
                self._run.end(step_id, "error", problem)
            elif tool.agent is not None:
                async with self._children:
                    results[ordinal] = await self._delegate(step_id, call, tool, summary, share)
                if self._run.stopping:
                    raise asyncio.CancelledError
            elif tool.image_bytes:
                async with self._with_images:
                    output = await self._dispatch(step_id, iteration, call, tool, summary)
                if output.images:
                    self._attached[ordinal] = attached_message(output.result, output.images)
                results[ordinal] = output.result
            else:
                output = await self._dispatch(step_id, iteration, call, tool, summary)
                results[ordinal] = output.result

    def _record(
        self, iteration: int, ordinal: int, call: ToolCallPart, answer: ToolResultPart
    ) -> ToolResultPart:
        """A call whose answer is known, as a step."""
        step_id, tool = call_step(iteration, ordinal), self._tools.get(call.name)
        hidden = tool is not None and tool.secret_arguments
        summary = summarize_call(call.name, call.arguments, hidden, self._redactor)
        self._run.begin(step_id, contracts.tool_activity(call.name), summary)
        told = self._redactor.text(answer.text)
        done = answer.outcome == "ok"
        self._run.end(step_id, STEP_STATUS[answer.outcome], f"{summary} → {told}" if done else told)
        return answer

    def _asks(self, tool: ToolDef, given: dict[str, JsonValue]) -> bool:
        """Whether a person has a say in this call."""
        return tool.human or self._approval.needed(tool, given)

    async def _may_go_on(
        self,
        step_id: str,
        call: ToolCallPart,
        tool: ToolDef,
        *,
        summary: str,
        results: dict[int, ToolResultPart],
        ordinal: int,
    ) -> bool:
        """Whether a person lets the call be made; if not, what they said is its result."""
        try:
            if tool.human:
                ok, text = await self._approval.answer(step_id, call, tool)
            else:
                refusal = await self._approval.refusal(step_id, call, tool)
                if refusal is None:
                    return True
                ok, text = False, refusal
        except asyncio.CancelledError:
            text = "the run was stopped before a person answered; nothing ran"
            self._run.end(step_id, "error", text)
            results[ordinal] = ToolResultPart.of(call.id, call.name, text, "error")
            raise
        told = self._redactor.text(text)  # the agent hears all of it
        self._run.end(step_id, "complete" if ok else "error", f"{summary} → {told}" if ok else told)
        results[ordinal] = ToolResultPart.of(call.id, call.name, text, "ok" if ok else "error")
        return False

    def _built_in(
        self, step_id: str, iteration: int, call: ToolCallPart, summary: str
    ) -> ToolResultPart:
        """`run_status` from live state; any other name is unknown, and so is a hidden one."""
        if call.name == RUN_STATUS and self._tools:
            self._run.end(step_id, "complete", summary)
            return ToolResultPart.of(
                call.id, call.name, self._state(iteration).model_dump_json(), "ok"
            )
        known = ", ".join([*self._tools, RUN_STATUS]) if self._tools else "none"
        text = f"unknown tool `{call.name}`; your tools: {known}"
        self._run.end(step_id, "error", text)
        return ToolResultPart.of(call.id, call.name, text, "error")

    async def _dispatch(
        self, step_id: str, iteration: int, call: ToolCallPart, tool: ToolDef, summary: str
    ) -> ToolOutput:
        attempts = 1 if tool.effect == "once" or tool.local else tool.attempts
        asked, roots = self._run.invocation, self._run.files_roots
        step = ToolInput(
            key=self._run.key,
            step_id=step_id,
            call_id=call.id,
            arguments=call.arguments,
            schema_digest=tool.digest,
            idempotency_key=self._idempotency_key(step_id),
            attempts=attempts,
            result_bytes=tool.result_bytes,
            source=tool.source,
            effect=tool.effect,
            agent_id=self.plan.agent_id,
            caller_id=asked.caller_id,
            tenant_id=asked.tenant_id,
            channel_id=asked.channel_id,
            state=self._state(iteration),
            files_root=roots[0] if roots else "",
            files_also=roots[1:],
            phase=self._run.phase,
        )
        do = perform_local if tool.local else perform
        name = contracts.tool_activity(tool.name)
        try:
            title = self._run.title(summary)
            # A cancel in the workflow task that began it raises CancelledError: it never left.
            output = await do(name, step, ToolOutput, self._options(tool, attempts), title)
        except ActivityError as error:
            return ToolOutput(result=self._failed(step_id, call, tool, error))
        text = f"{summary} → {output.summary}"
        status = STEP_STATUS[output.result.outcome]
        self._run.ledger.finish(
            step_id, status, self._run.changed(), summary=text, attempt=output.attempt
        )
        self._run.put(output.files)
        for said in output.steer:
            self._run.say(said, source=name)
        return output

    async def _delegate(
        self, step_id: str, call: ToolCallPart, tool: ToolDef, summary: str, share: int
    ) -> ToolResultPart:
        """Run an agent as a child; when this run is stopped, the child stops first and tells."""
        try:
            child = self._delegation.start(step_id, call, tool, share)
        except Refused as refused:
            self._run.end(step_id, "error", str(refused))
            return ToolResultPart.of(call.id, call.name, str(refused), "error")
        self._run.ledger.note_child(step_id, child.run_id)
        self._run.changed()
        await wait_for_end(child.task, on_cancel=child.stop)
        end = child.task.result()
        child.settle(end if isinstance(end, RunResult) else None)
        if isinstance(end, str):
            text = f"{tool.name} brought no result: {end}. What it did is not known: verify"
            self._run.end(step_id, "unknown", text)
            return ToolResultPart.of(call.id, call.name, text, "unknown")
        ok = end.status is Status.OK
        self._run.ledger.finish(
            step_id,
            "complete" if ok else "error",
            self._run.changed(),
            summary=f"{summary} → {end.status.value}: {end.error or end.reason.value}",
            usage=end.usage,
            cost_micro_usd=end.cost_micro_usd,
        )
        self._run.put(end.files)
        text = child_text(end, tool.result_bytes)
        return ToolResultPart.of(call.id, call.name, text, "ok" if ok else "error")

    def _options(self, tool: ToolDef, attempts: int) -> Options:
        whole = self._run.clock.seconds_reach() + SLACK
        return Options(
            whole=whole,
            attempt=tool.timeout + TOOL_SLACK,
            attempts=attempts,
            longest_pause=30.0,
            heartbeat=self.plan.bounds.heartbeat_seconds,
            task_queue=tool.task_queue,
            queue_wait=min(QUEUE_WAIT, whole) if tool.task_queue is not None else None,
        )

    def _failed(
        self, step_id: str, call: ToolCallPart, tool: ToolDef, error: ActivityError
    ) -> ToolResultPart:
        """A tool activity that brought no result: never started, lost, or cancelled.

        Raises:
            CancelledError: the run is being stopped.
        """
        if is_cancelled_exception(error):
            self._run.end(step_id, "error" if tool.effect == "pure" else "unknown", "cancelled")
            raise asyncio.CancelledError from None
        text = _never_started(tool, error)
        outcome: ToolOutcome = "error"
        if text is None:
            text = f"`{tool.name}` did not finish: its worker was lost or its time was up"
            if tool.effect != "pure":
                outcome = "unknown"
                text += (
                    ", so its outcome is unknown. It may or may not have taken effect: verify "
                    "before you try again"
                )
        self._run.end(step_id, STEP_STATUS[outcome], text)
        return ToolResultPart.of(call.id, call.name, text, outcome)

    def _idempotency_key(self, step_id: str) -> str:
        """Stable over attempts, worker crashes and `temporal workflow reset` (F14).

        That is why it holds the first execution's run id, not the current one.
        """
        key = f"{self._run.key.run_id}/{self._run.key.workflow_run_id}/{step_id}"
        return key if len(key) <= MAX_KEY else digest(key.encode())

    def _state(self, iteration: int) -> RunState:
        return RunState(
            iteration=iteration,
            max_iterations=self._run.max_iterations,
            tool_calls=self._run.ledger.tool_calls,
            seconds_elapsed=self._run.clock.seconds_elapsed(),
            seconds_left=self._run.clock.seconds_left(),
            usage=self._run.ledger.usage,
            cost_micro_usd=self._run.ledger.cost_micro_usd,
        )


STEP_STATUS: dict[ToolOutcome, StepStatus] = {
    "ok": "complete",
    "error": "error",
    "unknown": "unknown",
}


def _arguments(call: ToolCallPart) -> tuple[dict[str, JsonValue] | None, str | None]:
    """The arguments; or why they cannot be any tool's, so that nothing is dispatched for them."""
    try:
        return parse_object(call.arguments), None
    except ArgumentsError as error:
        return None, f"invalid arguments for {call.name}: {error}; nothing ran"


def _never_started(tool: ToolDef, error: ActivityError) -> str | None:
    """Why the tool certainly did not run, if that is certain."""
    cause = error.cause
    if isinstance(cause, TimeoutError) and cause.type == TimeoutType.SCHEDULE_TO_START:
        queue = tool.task_queue or "the run's task queue"
        return f"`{tool.name}` did not start: no worker of {queue} took it; nothing ran"
    if isinstance(cause, ApplicationError) and cause.type == "NotFoundError":
        return f"`{tool.name}` is not available on this worker; nothing ran"
    return None
