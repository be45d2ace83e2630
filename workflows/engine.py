"""The loop's engine on Temporal: every model step, tool call and compaction is an activity."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from executus import contracts
from executus.contracts import (
    CompactInput,
    CompactOutput,
    Failover,
    ModelFailure,
    ModelStepInput,
    ModelStepOutput,
)
from executus.digest import digest
from executus.message import Fold, Message, ToolCallPart, ToolResultPart
from executus.plan import ModelTarget, RunPlan
from executus.redact import Redactor
from executus.workflows.checkpoints import is_due, save
from executus.workflows.clock import SLACK
from executus.workflows.ending import Ending
from executus.workflows.outcome import budget_denial, model_ending
from executus.workflows.perform import QUEUE_WAIT, Options, perform
from executus.workflows.pipeline import PhaseOver
from executus.workflows.run import Run
from executus.workflows.scope import wait_for_end
from executus.workflows.tool_calls import ToolCalls, call_step

MODEL_SLACK = 10.0
"""Seconds from a model call's own time-out, kept by the worker, to Temporal's for a dead worker."""
MODEL_ATTEMPTS = 8
"""Attempts of a model step: with pauses of 1, 2, 4 ... 60 s they outlast a minute of overload."""
WORKED_EVENTS, WORKED_BYTES, MOST_WORKED_BYTES = 4_000, 4_000_000, 16_000_000
"""What an execution adds to its history before it may hand over: Temporal's own suggestion, and as
many bytes as were read back, so that all executions together stay linear. Temporal ends one at
51,200 events or 50 MB."""
INLINE_BYTES = 8_192
"""Bytes of our own messages that travel in a model step's input and save it a query."""
Pause: TypeAlias = Callable[[str, float | None], Awaitable[None]]
"""Waits, for the reason given, until somebody raises a limit or the seconds have passed."""


class TemporalEngine:
    """Carries out the steps of one run; lives in the workflow."""

    def __init__(self, run: Run, plan: RunPlan, pause: Pause) -> None:
        self._run = run
        self._pause = pause
        self._redactor = Redactor()
        self._over = False  # the present phase's own time is up
        info = workflow.info()
        self._events_before = info.get_current_history_length()
        self._bytes_before = info.get_current_history_size()
        self._sent = 0  # messages that an earlier step's worker has been told of
        self._made: list[Message | ToolResultPart] = []  # brought since then: workers keep it
        self.follow(plan)

    def follow(self, plan: RunPlan) -> None:
        """See `PhaseEngine.follow`."""
        self.plan = plan
        self.plan_digest = digest(plan.model_dump_json().encode())
        self._run.progress.plan, self._run.progress.digest = plan, self.plan_digest
        self._tools = ToolCalls(self._run, plan, self._redactor)
        self._run.changed()

    async def within(
        self, work: Coroutine[Any, Any, Ending | None], seconds: float | None
    ) -> Ending | None:
        """See `PhaseEngine.within`."""
        number, name = self._run.progress.index + 1, self._run.phase
        # By number: two phases may have one name, and ids are never encrypted, while labels are.
        with workflow.create_event_group(f"phase-{number}", label=name).scope():
            return await self._within(work, seconds)

    async def _within(
        self, work: Coroutine[Any, Any, Ending | None], seconds: float | None
    ) -> Ending | None:
        if seconds is None:
            return await work
        task = asyncio.create_task(work)
        timer = asyncio.create_task(workflow.sleep(seconds, summary=self._run.title("time is up")))

        def stop() -> None:
            task.cancel()

        await wait_for_end(task, on_cancel=stop, others=[timer])
        if not task.done():
            self._over = True
            stop()
            await wait_for_end(task, on_cancel=stop)
            self._over = False
        timer.cancel()
        if not task.cancelled():
            return task.result()
        if self._run.stopping:
            raise asyncio.CancelledError
        raise PhaseOver

    def now(self) -> datetime:
        """Workflow time."""
        return self._run.clock.now()

    def checkpoint(self) -> None:
        """See `Engine.checkpoint`."""
        if self._run.stopping or self._over:
            raise asyncio.CancelledError

    async def pause(self, why: str, seconds: float | None) -> None:
        """See `Engine.pause`."""
        await self._pause(why, seconds)

    def is_full(self) -> bool:
        """See `Engine.is_full`."""
        limit = self.plan.bounds.history_events
        info = workflow.info()
        if limit is not None and info.get_current_history_length() >= limit:
            return True
        if not info.is_continue_as_new_suggested():
            return False
        events = info.get_current_history_length() - self._events_before
        size = info.get_current_history_size() - self._bytes_before
        # A conversation that was read back fills a new history by itself: without growth of its own
        # an execution would hand over after every iteration.
        enough = min(max(WORKED_BYTES, self._bytes_before), MOST_WORKED_BYTES)
        return events >= WORKED_EVENTS or size >= enough

    # -- model ---------------------------------------------------------------------------------

    async def model_step(
        self, step_id: str, iteration: int, max_output_tokens: int, *, closing: bool
    ) -> ModelStepOutput:
        """See `Engine.model_step`."""
        self._run.iteration = iteration
        left = self._run.clock.seconds_reach()
        if closing:
            self._run.closing = not self._run.phase
            left = min(left, self.plan.bounds.closing_seconds)
        tail, inline = self._tail()
        step = ModelStepInput(
            key=self._run.key,
            step_id=step_id,
            cursor=self._run.transcript.cursor,
            tail=tail,
            inline=inline,
            plan_digest=self.plan_digest,
            max_output_tokens=max_output_tokens,
            closing=closing,
            seconds_left=left,
            phase=self._run.phase,
        )
        what = "closing answer" if closing else f"turn {iteration}"
        self._run.begin(step_id, "model", what)
        # The closing slice ends by itself; otherwise the run's timer fires first.
        options = self._options(left if closing else left + SLACK, self.plan.targets)
        count = len(self._run.transcript)
        summary = self._run.title(f"{what}: {count} message{'s' if count > 1 else ''}")
        try:
            output = await perform(contracts.MODEL, step, ModelStepOutput, options, summary)
        except (ActivityError, asyncio.CancelledError) as error:
            raise self._failed(step_id, error) from None
        self._answered(step_id, output)
        return output

    def _options(self, whole: float, targets: Sequence[ModelTarget]) -> Options:
        """The chain is walked in one activity, so its first target says where."""
        task_queue = targets[0].task_queue if targets else None
        return Options(
            whole=whole,
            attempt=self.plan.bounds.model_call_seconds + MODEL_SLACK,
            attempts=MODEL_ATTEMPTS,
            heartbeat=self.plan.bounds.heartbeat_seconds,
            task_queue=task_queue,
            queue_wait=min(QUEUE_WAIT, whole) if task_queue is not None else None,
        )

    def _answered(self, step_id: str, output: ModelStepOutput) -> None:
        calls = output.message.tool_calls
        text = ", ".join([call.name for call in calls]) if calls else output.message.text
        self._made.append(output.message)
        self._run.ledger.finish(
            step_id,
            "complete",
            self._run.changed(),
            summary=f"{output.spec}: {self._redactor.text(text[:400])}",
            usage=output.usage,
            cost_micro_usd=output.cost_micro_usd,
            model=output.spec,
            attempt=output.attempt,
        )
        self._note(output.failovers)

    def _failed(self, step_id: str, error: ActivityError | asyncio.CancelledError) -> BaseException:
        """The exception to raise in place of a failed model or compact activity."""
        if not isinstance(error, ActivityError) or is_cancelled_exception(error):
            self._run.end(step_id, "error", "cancelled")
            return asyncio.CancelledError()
        ending = budget_denial(error) or model_ending(error, self._run.clock.seconds_reach())
        self._run.end(step_id, "error", str(ending))
        self._note(_failovers(error))
        return ending

    def _note(self, failovers: Sequence[Failover]) -> None:
        for failover in failovers:
            text = f"{failover.spec}: {failover.fault}: {failover.message}"
            self._run.ledger.event("failover", text, self.now(), spec=failover.spec)

    def _tail(self) -> tuple[tuple[str, ...], tuple[Message, ...]]:
        """Digests of what came since the last step, and the small messages that we wrote."""
        transcript = self._run.transcript
        tail = tuple(transcript.digests[self._sent :])
        inline: list[Message] = []
        room = INLINE_BYTES
        for i in range(self._sent, len(transcript)):
            if transcript.sizes[i] <= room and not self._is_made(transcript.messages[i]):
                inline.append(transcript.messages[i])
                room -= transcript.sizes[i]
        self._sent += len(tail)
        self._made.clear()
        return tail, tuple(inline)

    def _is_made(self, message: Message) -> bool:
        """Whether a step's activity brought just this, so that its worker has it at hand."""
        part = message.parts[0] if message.parts else message
        return any(made is message or made is part for made in self._made)

    async def save(self) -> None:
        """See `Engine.save`."""
        if is_due(self._run):
            failed = await save(self._run, *self._tail())
            if failed is not None:
                self._run.event("checkpoint_failed", failed)

    # -- compaction ----------------------------------------------------------------------------

    async def compact(
        self, step_id: str, fold: Fold, max_output_tokens: int | None
    ) -> Message | None:
        """See `Engine.compact`."""
        left = self._run.clock.seconds_reach()
        tail, inline = self._tail()
        step = CompactInput(
            key=self._run.key,
            step_id=step_id,
            cursor=self._run.transcript.cursor,
            tail=tail,
            inline=inline,
            plan_digest=self.plan_digest,
            start=fold.start,
            end=fold.end,
            max_output_tokens=max_output_tokens,
            seconds_left=left,
            phase=self._run.phase,
        )
        what = f"fold messages {fold.start}-{fold.end - 1}"
        self._run.begin(step_id, "compact", what)
        options = self._options(left + SLACK, self.plan.summary_targets or self.plan.targets)
        try:
            summary = self._run.title(what)
            output = await perform(contracts.COMPACT, step, CompactOutput, options, summary)
        except (ActivityError, asyncio.CancelledError) as error:
            failure = self._failed(step_id, error)
            if isinstance(failure, asyncio.CancelledError):
                raise failure from None
            return None  # a failed summary costs nothing but the try: the originals are sent
        self._made.append(output.summary)
        self._run.ledger.finish(
            step_id,
            "complete",
            self._run.changed(),
            usage=output.usage,
            cost_micro_usd=output.cost_micro_usd,
            model=output.spec,
            attempt=output.attempt,
        )
        return output.summary

    # -- tools ---------------------------------------------------------------------------------

    async def call_tools(
        self,
        iteration: int,
        calls: Sequence[ToolCallPart],
        answers: Mapping[str, ToolResultPart],
    ) -> list[ToolResultPart]:
        """See `Engine.call_tools`.

        When the run is stopped meanwhile, the calls are still answered in the transcript (a lost
        one as unknown) before the cancel goes on, so that what is kept is well-formed.
        """
        results: dict[int, ToolResultPart] = {}
        try:
            await self._tools.run(iteration, calls, results, answers)
        except asyncio.CancelledError:
            self._place(iteration, sorted(results))
            for ordinal, call in enumerate(calls, 1):
                part = results.get(ordinal) or self._tools.lost(call_step(iteration, ordinal), call)
                self._run.transcript.append(Message(role="tool", parts=(part,)))
            raise
        self._place(iteration, range(1, len(calls) + 1))
        for ordinal, result in results.items():
            if self._run.ledger.attempts[call_step(iteration, ordinal)]:
                self._made.append(result)
        return [results[ordinal] for ordinal in range(1, len(calls) + 1)]

    def _place(self, iteration: int, ordinals: Iterable[int]) -> None:
        """Note where these results of a turn's calls are about to stand."""
        first = len(self._run.transcript)
        for ordinal in ordinals:
            self._run.ledger.messages[call_step(iteration, ordinal)] = first + ordinal - 1

    def attached(self) -> list[Message]:
        """See `Engine.attached`."""
        return self._tools.attached()


def _failovers(error: ActivityError) -> tuple[Failover, ...]:
    cause = error.cause
    if not isinstance(cause, ApplicationError) or cause.type != contracts.MODEL_ERROR:
        return ()
    return ModelFailure.model_validate(cause.details[0]).failovers if cause.details else ()
