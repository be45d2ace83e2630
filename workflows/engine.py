"""The loop's engine on Temporal: every model step, tool call and compaction is an activity."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    TimeoutError,  # noqa: A004 - Temporal's own, which is the one that arrives here
    TimeoutType,
    is_cancelled_exception,
)
from temporalio.workflow import ActivityCancellationType

from executus import contracts
from executus.contracts import (
    CompactInput,
    CompactOutput,
    ModelFailure,
    ModelStepInput,
    ModelStepOutput,
    RunKey,
    RunState,
    ToolInput,
    ToolOutput,
)
from executus.digest import digest
from executus.invocation import Invocation
from executus.message import Fold, Message, ToolCallPart, ToolOutcome, ToolResultPart
from executus.plan import RunPlan, ToolDef
from executus.redact import Redactor
from executus.step import StepStatus
from executus.tools.summary import summarize_call, summarize_result
from executus.transcript import Transcript
from executus.workflows.ledger import Ledger
from executus.workflows.loop import RUN_STATUS
from executus.workflows.outcome import budget_denial, model_ending

SLACK = 5.0
"""Seconds an activity's own time-outs come after the run's timer: the timer is to fire first, since
it cancels gracefully and a time-out does not."""
TOOL_SLACK = 10.0
"""Seconds from a tool's own time-out, kept by the worker, to Temporal's for a dead worker."""
QUEUE_WAIT = 60.0
"""Seconds a call waits for a worker of another task queue before it fails as never started."""
MODEL_ATTEMPTS = 8
"""Attempts of a model step: with delays of 1, 2, 4 ... 60 s they outlast a minute of overload."""
INLINE_BYTES = 8_192
"""Bytes of our own messages that travel in a model step's input and save it a query."""
MAX_BATCH_BYTES = 2_500_000
"""Results that may arrive together: Temporal ends a run whose task passes 4 MiB."""


class TemporalEngine:
    """Carries out the steps of one run; lives in the workflow."""

    def __init__(
        self,
        *,
        key: RunKey,
        plan: RunPlan,
        plan_digest: str,
        invocation: Invocation,
        transcript: Transcript,
        ledger: Ledger,
        started_at: datetime,
        deadline_at: datetime,
        stopping: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        self.key = key
        self.plan = plan
        self.plan_digest = plan_digest
        self.caller = invocation.model_copy(
            update={"prompt": "", "inputs": {}, "images": (), "files": ()}
        )
        self.transcript = transcript
        self.ledger = ledger
        self.started_at = started_at
        self.deadline_at = deadline_at
        self.iteration = 0
        self._stopping = stopping
        self._changed = changed
        self._tools = {tool.name: tool for tool in plan.tools}
        self._redactor = Redactor()
        self._sent = 0  # messages that an earlier step's worker has been told of
        self._made: set[int] = set()  # messages since then that an activity made
        cap = max((tool.result_bytes for tool in plan.tools), default=1)
        width = min(plan.bounds.parallel_tools, max(1, MAX_BATCH_BYTES // cap))
        self._parallel = asyncio.Semaphore(width)

    def now(self) -> datetime:
        """Workflow time."""
        return workflow.now()

    def seconds_left(self) -> float:
        """Until the deadline; at least 50 ms, so that it can stand in a time-out."""
        return max(0.05, (self.deadline_at - workflow.now()).total_seconds())

    def checkpoint(self) -> None:
        """See `Engine.checkpoint`."""
        if self._stopping() or workflow.cancellation_reason() is not None:
            raise asyncio.CancelledError

    # -- model ---------------------------------------------------------------------------------

    async def model_step(
        self, step_id: str, max_output_tokens: int, *, closing: bool
    ) -> ModelStepOutput:
        """See `Engine.model_step`."""
        self.iteration += 0 if closing else 1
        left = self.seconds_left()
        if closing:
            left = min(left, self.plan.bounds.closing_seconds)
        tail, inline = self._tail()
        step = ModelStepInput(
            key=self.key,
            step_id=step_id,
            cursor=self.transcript.cursor,
            tail=tail,
            inline=inline,
            plan_digest=self.plan_digest,
            max_output_tokens=max_output_tokens,
            closing=closing,
            seconds_left=left,
        )
        what = "closing answer" if closing else f"turn {self.iteration}"
        self._begin(step_id, "model", what)
        try:
            output = await workflow.execute_activity(
                contracts.MODEL,
                step,
                result_type=ModelStepOutput,
                summary=f"{what}: {len(self.transcript)} messages",
                **self._model_options(left, closing=closing),
            )
        except ActivityError as error:
            raise self._model_failed(step_id, error) from None
        self._model_done(step_id, output)
        return output

    def _model_options(self, left: float, *, closing: bool) -> workflow.ActivityConfig:
        whole = left if closing else left + SLACK
        once = min(self.plan.bounds.model_call_seconds + TOOL_SLACK, whole)
        return workflow.ActivityConfig(
            schedule_to_close_timeout=timedelta(seconds=whole),
            start_to_close_timeout=timedelta(seconds=once),
            heartbeat_timeout=timedelta(seconds=self.plan.bounds.heartbeat_seconds),
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            retry_policy=RetryPolicy(
                initial_interval=timedelta(seconds=1),
                maximum_interval=timedelta(seconds=60),
                maximum_attempts=MODEL_ATTEMPTS,
            ),
        )

    def _model_done(self, step_id: str, output: ModelStepOutput) -> None:
        calls = output.message.tool_calls
        text = ", ".join(call.name for call in calls) if calls else output.message.text
        self._made_by(step_id, len(self.transcript))
        self.ledger.finish(
            step_id,
            "complete",
            self.now(),
            summary=f"{output.spec}: {self._redactor.text(text[:400])}",
            usage=output.usage,
            cost_micro_usd=output.cost_micro_usd,
            model=output.spec,
            attempt=output.attempt,
        )
        for failover in output.failovers:
            text = f"{failover.spec}: {failover.fault}: {failover.message}"
            self.ledger.event("failover", text, self.now(), spec=failover.spec)
        self._changed()

    def _model_failed(self, step_id: str, error: ActivityError) -> BaseException:
        """The exception to raise in place of a failed model or compact activity."""
        if is_cancelled_exception(error):
            self._end(step_id, "error", "cancelled")
            return asyncio.CancelledError()
        denied = budget_denial(error)
        ending = denied or model_ending(error, self.seconds_left())
        self._end(step_id, "error", str(ending))
        for failover in _failovers(error):
            text = f"{failover.spec}: {failover.fault}: {failover.message}"
            self.ledger.event("failover", text, self.now(), spec=failover.spec)
        return ending

    def _tail(self) -> tuple[tuple[str, ...], tuple[Message, ...]]:
        """Digests of what came since the last step, and the small messages that we wrote."""
        new = range(self._sent, len(self.transcript))
        inline: list[Message] = []
        room = INLINE_BYTES
        for i in new:
            if i not in self._made and self.transcript.sizes[i] <= room:
                inline.append(self.transcript.messages[i])
                room -= self.transcript.sizes[i]
        tail = tuple(self.transcript.digests[i] for i in new)
        self._sent = len(self.transcript)
        self._made.clear()
        return tail, tuple(inline)

    # -- compaction ----------------------------------------------------------------------------

    async def compact(self, step_id: str, fold: Fold) -> Message | None:
        """See `Engine.compact`."""
        left = self.seconds_left()
        tail, inline = self._tail()
        step = CompactInput(
            key=self.key,
            step_id=step_id,
            cursor=self.transcript.cursor,
            tail=tail,
            inline=inline,
            plan_digest=self.plan_digest,
            start=fold.start,
            end=fold.end,
            seconds_left=left,
        )
        self._begin(step_id, "compact", f"fold messages {fold.start}-{fold.end - 1}")
        try:
            output = await workflow.execute_activity(
                contracts.COMPACT,
                step,
                result_type=CompactOutput,
                summary=f"fold messages {fold.start}-{fold.end - 1}",
                **self._model_options(left, closing=False),
            )
        except ActivityError as error:
            failure = self._model_failed(step_id, error)
            if isinstance(failure, asyncio.CancelledError):
                raise failure from None
            return None  # a failed summary costs nothing but the try: the originals are sent
        self._made_by(step_id, len(self.transcript))
        self.ledger.finish(
            step_id,
            "complete",
            self.now(),
            usage=output.usage,
            cost_micro_usd=output.cost_micro_usd,
            model=output.spec,
            attempt=output.attempt,
        )
        self._changed()
        return output.summary

    # -- tools ---------------------------------------------------------------------------------

    async def call_tools(
        self, iteration: int, calls: Sequence[ToolCallPart]
    ) -> list[ToolResultPart]:
        """See `Engine.call_tools`.

        When the run is stopped meanwhile, the calls are still answered in the transcript (a lost
        one as unknown) before the cancel goes on, so that what is kept is well-formed.
        """
        results: dict[int, ToolResultPart] = {}
        tasks = [
            asyncio.create_task(self._call(iteration, ordinal, call, results))
            for ordinal, call in enumerate(calls, 1)
        ]
        try:
            # return_exceptions: without it, gather leaves slow tools running behind our back.
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
        except asyncio.CancelledError:
            for ordinal, call in enumerate(calls, 1):
                lost = self._result(call, "the run was stopped; outcome unknown", "unknown")
                self.transcript.append(Message(role="tool", parts=(results.get(ordinal, lost),)))
            raise
        first = len(self.transcript)
        for ordinal in range(1, len(calls) + 1):
            step_id = f"m{iteration}.t{ordinal}"
            if self.ledger.attempts[step_id]:
                self._made_by(step_id, first + ordinal - 1)
        return [results[ordinal] for ordinal in range(1, len(calls) + 1)]

    async def _call(
        self,
        iteration: int,
        ordinal: int,
        call: ToolCallPart,
        results: dict[int, ToolResultPart],
    ) -> None:
        step_id = f"m{iteration}.t{ordinal}"
        tool = self._tools.get(call.name)
        hidden = tool is not None and tool.secret_arguments
        summary = summarize_call(call.name, call.arguments, hidden, self._redactor)
        async with self._parallel:
            self._begin(step_id, contracts.tool_activity(call.name), summary)
            refusal = self._refusal(call, tool)
            if call.name == RUN_STATUS and tool is None:
                results[ordinal] = self._result(call, self.state().model_dump_json(), "ok")
                self._end(step_id, "complete", summary)
            elif tool is None or refusal is not None:
                results[ordinal] = self._result(call, refusal or "", "error")
                self._end(step_id, "error", refusal or "")
            else:
                results[ordinal] = await self._run_tool(step_id, call, tool, summary)

    def _refusal(self, call: ToolCallPart, tool: ToolDef | None) -> str | None:
        """Why a call is answered without running, if it is."""
        if tool is None:
            known = ", ".join([*self._tools, RUN_STATUS] if self._tools else [])
            return f"unknown tool `{call.name}`; your tools: {known or 'none'}"
        try:
            arguments = json.loads(call.arguments or "{}")
        except ValueError as error:
            return f"invalid arguments for `{call.name}`: not JSON ({error}); nothing ran"
        except RecursionError:
            return f"invalid arguments for `{call.name}`: nested too deep; nothing ran"
        if not isinstance(arguments, dict):
            return f"invalid arguments for `{call.name}`: not a JSON object; nothing ran"
        return None

    async def _run_tool(
        self, step_id: str, call: ToolCallPart, tool: ToolDef, summary: str
    ) -> ToolResultPart:
        attempts = 1 if tool.effect == "once" else tool.attempts
        step = ToolInput(
            key=self.key,
            step_id=step_id,
            call_id=call.id,
            arguments=call.arguments,
            schema_digest=tool.digest,
            idempotency_key=self._idempotency_key(step_id),
            attempts=attempts,
            result_bytes=tool.result_bytes,
            agent_id=self.plan.agent_id,
            invocation=self.caller,
            state=self.state(),
        )
        try:
            output = await workflow.execute_activity(
                contracts.tool_activity(tool.name),
                step,
                result_type=ToolOutput,
                summary=summary,
                **self._tool_options(tool, attempts),
            )
        except ActivityError as error:
            return self._tool_failed(step_id, call, tool, error)
        status = _STEP_STATUS[output.result.outcome]
        text = f"{summary} → {output.summary or summarize_result(output.result)}"
        self.ledger.finish(step_id, status, self.now(), summary=text, attempt=output.attempt)
        self._changed()
        return output.result

    def _tool_options(self, tool: ToolDef, attempts: int) -> workflow.ActivityConfig:
        left = self.seconds_left() + SLACK
        config = workflow.ActivityConfig(
            schedule_to_close_timeout=timedelta(seconds=left),
            start_to_close_timeout=timedelta(seconds=min(tool.timeout + TOOL_SLACK, left)),
            heartbeat_timeout=timedelta(seconds=self.plan.bounds.heartbeat_seconds),
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            retry_policy=RetryPolicy(
                initial_interval=timedelta(seconds=1),
                maximum_interval=timedelta(seconds=30),
                maximum_attempts=attempts,
            ),
        )
        if tool.task_queue is not None:
            config["task_queue"] = tool.task_queue
            config["schedule_to_start_timeout"] = timedelta(seconds=min(QUEUE_WAIT, left))
        return config

    def _tool_failed(
        self, step_id: str, call: ToolCallPart, tool: ToolDef, error: ActivityError
    ) -> ToolResultPart:
        """A tool activity that brought no result: never started, lost, or cancelled.

        Raises:
            CancelledError: the run is being stopped.
        """
        lost: StepStatus = "error" if tool.effect == "pure" else "unknown"
        if is_cancelled_exception(error):
            self._end(step_id, lost, "cancelled")
            raise asyncio.CancelledError from None
        text = _never_started(tool, error)
        outcome: ToolOutcome = "error"
        if text is None and tool.effect == "pure":
            text = f"`{tool.name}` did not finish: its worker was lost or its time was up"
        elif text is None:
            outcome = "unknown"
            text = (
                f"outcome of `{tool.name}` unknown: its worker was lost or its time was up. It may "
                "or may not have taken effect: verify before you try again"
            )
        self._end(step_id, _STEP_STATUS[outcome], text)
        return self._result(call, text, outcome)

    def _idempotency_key(self, step_id: str) -> str:
        """Stable over attempts, worker crashes and `temporal workflow reset` (F14).

        That is why it holds the first execution's run id, not the current one. At most 255
        characters, which is what Stripe allows.
        """
        key = f"{self.key.run_id}/{self.key.workflow_run_id}/{step_id}"
        return key if len(key) <= 255 else digest(key.encode())  # noqa: PLR2004

    def state(self) -> RunState:
        """The run as a tool may see it."""
        return RunState(
            iteration=self.iteration,
            max_iterations=self.plan.bounds.max_iterations,
            tool_calls=self.ledger.tool_calls,
            seconds_elapsed=(workflow.now() - self.started_at).total_seconds(),
            seconds_left=max(0.0, (self.deadline_at - workflow.now()).total_seconds()),
            usage=self.ledger.usage,
            cost_micro_usd=self.ledger.cost_micro_usd,
        )

    # -- small things --------------------------------------------------------------------------

    def _result(self, call: ToolCallPart, text: str, outcome: ToolOutcome) -> ToolResultPart:
        data = text.encode("utf-8", "replace")
        return ToolResultPart(
            call_id=call.id,
            name=call.name,
            text=text,
            outcome=outcome,
            bytes=len(data),
            digest=digest(data),
        )

    def _made_by(self, step_id: str, index: int) -> None:
        """A step's activity made the transcript message at `index`."""
        self.ledger.messages[step_id] = index
        self._made.add(index)

    def _begin(self, step_id: str, kind: str, summary: str) -> None:
        self.ledger.begin(step_id, kind, self.iteration, summary, self.now())
        self._changed()

    def _end(self, step_id: str, status: StepStatus, summary: str) -> None:
        self.ledger.finish(step_id, status, self.now(), summary=summary)
        self._changed()


_STEP_STATUS: dict[ToolOutcome, StepStatus] = {
    "ok": "complete",
    "error": "error",
    "unknown": "unknown",
}


def _never_started(tool: ToolDef, error: ActivityError) -> str | None:
    """Why the tool certainly did not run, if that is certain."""
    cause = error.cause
    if isinstance(cause, TimeoutError) and cause.type == TimeoutType.SCHEDULE_TO_START:
        queue = tool.task_queue or "the run's task queue"
        return f"`{tool.name}` did not start: no worker of {queue} took it; nothing ran"
    if isinstance(cause, ApplicationError) and cause.type == "NotFoundError":
        return f"`{tool.name}` is not available on this worker; nothing ran"
    return None


def _failovers(error: ActivityError) -> tuple[contracts.Failover, ...]:
    cause = error.cause
    if not isinstance(cause, ApplicationError) or cause.type != contracts.MODEL_ERROR:
        return ()
    return ModelFailure.model_validate(cause.details[0]).failovers if cause.details else ()
