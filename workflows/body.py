"""The body of a run: prepare or take up, loop, hand over. A stop cancels it as one task."""

import asyncio
from functools import partial

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from executus import contracts
from executus.carry import Carry
from executus.contracts import AuditFlushInput, RestoreInput
from executus.errors import RequestError, RunError
from executus.json_schema import value_problem
from executus.plan import RunPlan
from executus.request import RunRequest
from executus.status import Reason, Status
from executus.transcript import TranscriptPage
from executus.workflows.allowance import Allowance
from executus.workflows.attached import opening_of
from executus.workflows.controls import Controls
from executus.workflows.ending import Ending
from executus.workflows.engine import TemporalEngine
from executus.workflows.fork import asks_something, take_up
from executus.workflows.handover import pack, unpack_loop, unpack_run
from executus.workflows.loop import AgentLoop
from executus.workflows.opening import check_opening
from executus.workflows.perform import Nothing, Options, perform
from executus.workflows.pipeline import Pipeline
from executus.workflows.prepare import open_audit, reserve, resolve
from executus.workflows.run import Run
from executus.workflows.watch import Watch

RESTORE_SECONDS = 300.0
"""For reading what an earlier execution could not carry: it is replayed to answer."""
FLUSH_SECONDS = 60.0
"""For the audit to take what this execution knows, before the next one begins."""


class Body:
    """The work of one execution of a run."""

    def __init__(self, run: Run, controls: Controls, watch: Watch) -> None:
        self._run = run
        self._controls = controls
        self._watch = watch
        self.carry: Carry | None = None
        """What the next execution needs, once this one is full."""

    async def work(self, earlier: Carry | None) -> Ending | None:
        """The ending; None when the history is full and the run goes on in another execution."""
        run = self._run
        try:
            plan = await (self._resume(earlier) if earlier else self._prepare())
        except RunError as error:
            return Ending(error.status, error.reason, error=str(error))
        except RequestError as error:
            return Ending(Status.ERROR, error.reason, error=str(error))
        run.stage = "running"
        run.changed()
        self._watch.begin()
        if plan.phases:
            pipeline = self._pipeline(plan)
            ending = await pipeline.run(partial(unpack_loop, earlier) if earlier else None)
            loop = pipeline.loop
        else:
            loop = self._loop(plan, earlier)
            ending = await loop.run()
        if ending is None and loop is not None:
            await self._hand_over(plan, loop)
        return ending

    def _loop(self, plan: RunPlan, earlier: Carry | None) -> AgentLoop:
        run = self._run
        loop = AgentLoop(
            plan,
            run.transcript,
            run.ledger,
            steer=run.steer,
            engine=TemporalEngine(run, plan, self._controls.pause),
            allowance=run.allowance,
        )
        if earlier is not None:
            unpack_loop(earlier, loop)
        return loop

    def _pipeline(self, plan: RunPlan) -> Pipeline:
        run = self._run
        return Pipeline(
            plan,
            run.progress,
            run.transcript,
            run.ledger,
            steer=run.steer,
            engine=TemporalEngine(run, plan, self._controls.pause),
            allowance=run.allowance or Allowance.of(plan),
        )

    async def _prepare(self) -> RunPlan:
        """Resolve, reserve, open: the first execution only."""
        run = self._run
        request = run.request or RunRequest(agent="")
        asks = request.origin is None or asks_something(request)
        if asks:
            check_opening(request.invocation)
        resolved = await resolve(request)
        run.wired = resolved.wired
        if resolved.refusal is not None:
            raise RunError(Status.ERROR, resolved.refusal.reason, resolved.refusal.message)
        if resolved.plan is None:  # pragma: no cover - resolve answers one or the other
            raise RunError(Status.ERROR, Reason.INTERNAL, "resolve answered nothing")
        plan = run.plan = resolved.plan
        self._bound(request, plan)
        problem = _misfit(request, plan, asks=asks)
        if problem is not None:
            raise RunError(Status.ERROR, Reason.INVALID_REQUEST, problem)
        if "budget" in plan.wired:
            run.reserved = True  # from here on it may have landed, whatever we hear of it
            above = request.lineage
            seconds = min(plan.reach_seconds, above.seconds) if above else plan.reach_seconds
            began = run.clock.started_at
            denial = await reserve(run.key, request.invocation, plan, began, seconds)
            if denial is not None:
                run.reserved = False
                run.event("budget_rejected", denial)
                raise RunError(Status.BUDGET_EXCEEDED, Reason.BUDGET_REJECTED, denial)
        if "audit" in plan.wired:
            late = await open_audit(run.opening())
            if late is not None:
                run.event("audit_late", late)
        await take_up(run, request)
        if asks:
            run.transcript.append(await opening_of(run, plan))
        run.forget_agent(plan)
        return plan

    def _bound(self, request: RunRequest, plan: RunPlan) -> None:
        """Set what the run may use: its plan's bounds, within what a parent has left for it."""
        run, above = self._run, request.lineage
        run.allowance = Allowance.of(plan)
        run.depth_left = plan.bounds.delegation_depth
        run.descendants_left = plan.bounds.descendants
        if above is not None:
            run.clock.cap(above.seconds)
            run.depth_left = min(run.depth_left, above.depth_left)
            run.descendants_left = min(run.descendants_left, above.descendants_left)
        run.clock.allow(plan.deadline_seconds)
        if plan.watched is not None:
            run.clock.reach(plan.reach_seconds)
        elif plan.critic is not None:
            run.warn("critic_off", f"nobody watches the run: {plan.critic.off}")

    async def _resume(self, earlier: Carry) -> RunPlan:
        """Take up what the last execution handed over."""
        unpack_run(earlier, self._run)
        await self._restore(earlier)
        return earlier.plan

    async def _restore(self, earlier: Carry) -> None:
        """Read back the messages that were too large to be carried."""
        transcript = self._run.transcript
        options = Options(whole=RESTORE_SECONDS, attempt=RESTORE_SECONDS, longest_pause=10.0)
        while len(transcript) < earlier.message_count:
            asked = RestoreInput(execution=earlier.from_execution, start=len(transcript))
            summary = f"messages from {asked.start}"
            try:
                page = await perform(contracts.RESTORE, asked, TranscriptPage, options, summary)
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise asyncio.CancelledError from None
                text = f"the conversation could not be read back: {error.cause or error}"
                raise RunError(Status.ERROR, Reason.INTERNAL, text) from None
            for message in page.messages:
                transcript.append(message)

    async def _hand_over(self, plan: RunPlan, loop: AgentLoop) -> None:
        """Let the audit take what only this execution knows, and pack the rest."""
        run = self._run
        await self._watch.end()
        flushed = len(run.ledger.events)
        if "audit" in plan.wired:
            asked = AuditFlushInput(
                opening=run.opening(), events=tuple(run.ledger.events), row_keys=run.ledger.total
            )
            options = Options(whole=FLUSH_SECONDS, attempt=20.0, longest_pause=10.0)
            try:
                await perform(contracts.AUDIT_FLUSH, asked, Nothing, options, "before going on")
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise asyncio.CancelledError from None
                run.event(
                    "audit_gap", f"rows of an execution may be missing: {error.cause or error}"
                )
        # The rest is one piece: what has been said is in the conversation that is handed over, and
        # no update is left without its answer.
        loop.deliver_steer()
        while not workflow.all_handlers_finished():
            await workflow.wait_condition(workflow.all_handlers_finished)
            loop.deliver_steer()
        told = flushed if "audit" in plan.wired else len(run.ledger.events)
        self.carry = pack(run, plan, loop, told)


def _misfit(request: RunRequest, plan: RunPlan, *, asks: bool) -> str | None:
    """Why the request does not fit the agent, if it does not."""
    if plan.phases and request.origin is not None:
        return (
            "an agent with phases cannot go on from another run's conversation, since each phase "
            "begins a new one: fork it with an agent without phases"
        )
    if plan.input_schema is None or not asks:
        return None
    problem = value_problem(request.invocation.inputs, plan.input_schema)
    return problem and f"the inputs do not match the agent's input_schema: {problem}"
