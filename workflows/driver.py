"""One run from first to last: prepare, loop, and know why it stopped.

Three tasks: the body (resolve, reserve, open, loop), one run-long timer, and after them the cleanup
(`AgentRun.run`). The driver only waits, so it alone decides what a cancel means.
"""

import asyncio
from collections import deque
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

from executus import contracts
from executus.audit import AuditOpen, ToolGrant
from executus.budget import BudgetCheck, BudgetDecision
from executus.contracts import BudgetCheckInput, ResolveInput, RunKey
from executus.digest import digest
from executus.errors import RequestError, RunError
from executus.limits import Defaults
from executus.plan import Port, Resolved, RunPlan
from executus.request import RunRequest
from executus.state import STATE_STEPS, LiveState, Phase
from executus.status import Reason, Status
from executus.transcript import Transcript
from executus.workflows.answer import best_text
from executus.workflows.details import render
from executus.workflows.ending import Ending
from executus.workflows.engine import SLACK, TemporalEngine
from executus.workflows.ledger import Ledger
from executus.workflows.loop import AgentLoop
from executus.workflows.opening import opening_message
from executus.workflows.outcome import denial_text
from executus.workflows.scope import wait_for_end

PORT_SECONDS = 20.0
"""Seconds that resolve, reserve and open may each take, retries included."""
SWEEP_MARGIN = 60.0
"""Seconds after the last possible moment of cleanup, from which on the sweeper may ask."""


class RunDriver:
    """State and flow of one run; plain Python that lives in the workflow."""

    def __init__(self, key: RunKey) -> None:
        """Signals may come before the first task, so all they touch is here from the start."""
        self.key = key
        self.transcript = Transcript()
        self.ledger = Ledger()
        self.steer: deque[str] = deque()
        self.phase: Phase = "starting"
        self.request: RunRequest | None = None
        self.plan: RunPlan | None = None
        self.wired: tuple[Port, ...] | None = None
        self.reserved = False
        self.ending: Ending | None = None
        self.stop_why: Ending | None = None
        self.started_at: datetime = workflow.now()
        self.deadline_at: datetime | None = None
        self._loop: AgentLoop | None = None
        self._body: asyncio.Task[Ending] | None = None

    async def drive(self, request: RunRequest) -> Ending:
        """Run to an ending, whatever cancels and signals arrive meanwhile. Never raises."""
        self.request = request
        self.started_at = workflow.now()
        timer = asyncio.create_task(self._time_out())
        body = self._body = asyncio.create_task(self._work(request))
        if self.stop_why is not None:
            body.cancel()  # the stop signal came before the first task
        await wait_for_end(body, on_cancel=self.cancelled, others=[timer])
        if not body.done():
            self.stop(Status.TIMEOUT, Reason.DEADLINE, self._deadline_text())
            await wait_for_end(body, on_cancel=self.cancelled)
        timer.cancel()
        self.ending = self._outcome(body)
        return self.ending

    def stop(self, status: Status, reason: Reason, why: str) -> None:
        """Stop the loop. The first reason counts; a run that has ended takes no note."""
        if self.ending is not None:
            return
        if self.stop_why is None:
            self.stop_why = Ending(status, reason, error=why)
            self.ledger.event("stop", why, workflow.now(), reason=reason.value)
            self.changed()
        if self._body is not None:
            self._body.cancel()

    def cancelled(self) -> None:
        """A native cancel arrived."""
        why = workflow.cancellation_reason() or "no reason given"
        self.stop(Status.CANCELLED, Reason.CANCEL_REQUEST, f"cancelled: {why}")

    def _outcome(self, body: asyncio.Task[Ending]) -> Ending:
        if not body.cancelled() and body.exception() is None:
            return body.result()
        error = None if body.cancelled() else body.exception()
        stopped = error is None or is_cancelled_exception(error)
        if stopped and self.stop_why is not None:
            why, partial = self.stop_why, best_text(self.transcript.messages)
            return Ending(why.status, why.reason, partial, error=why.error)
        # A bug, in executus or its host: end the run with it instead of hanging the workflow task.
        workflow.logger.error("executus: bug in the run", exc_info=error)
        text = f"internal error: {type(error).__name__}: {error}"[:1_000]
        partial = best_text(self.transcript.messages)
        return Ending(Status.ERROR, Reason.INTERNAL, partial, error=text)

    async def _time_out(self) -> None:
        """The one run-long timer; armed once the plan says how long the run may take."""
        await workflow.wait_condition(lambda: self.deadline_at is not None)
        if self.deadline_at is not None:
            left = max(timedelta(0), self.deadline_at - workflow.now())
            await workflow.sleep(left, summary="run deadline")

    def _deadline_text(self) -> str:
        used = (workflow.now() - self.started_at).total_seconds()
        return f"deadline: {used:.0f} s used, {len(self.ledger.steps)} steps done"

    # -- body ----------------------------------------------------------------------------------

    async def _work(self, request: RunRequest) -> Ending:
        try:
            plan = await self._prepare(request)
        except RunError as error:
            return Ending(error.status, error.reason, error=str(error))
        except RequestError as error:
            return Ending(Status.ERROR, error.reason, error=str(error))
        self.phase = "running"
        engine = TemporalEngine(
            key=self.key,
            plan=plan,
            plan_digest=digest(plan.model_dump_json().encode()),
            invocation=request.invocation,
            transcript=self.transcript,
            ledger=self.ledger,
            started_at=self.started_at,
            deadline_at=self.deadline_at or self.started_at,
            stopping=lambda: self.stop_why is not None,
            changed=self.changed,
        )
        self._loop = AgentLoop(plan, self.transcript, self.ledger, self.steer, engine)
        return await self._loop.run()

    async def _prepare(self, request: RunRequest) -> RunPlan:
        opening = opening_message(request.invocation)
        plan = self.plan = await self._resolve(request)
        self.deadline_at = self.started_at + timedelta(seconds=plan.bounds.max_runtime)
        if "budget" in plan.wired:
            await self._reserve(request, plan)
        if "audit" in plan.wired:
            await self._open_audit()
        self.transcript.append(opening)
        self.changed()
        return plan

    async def _resolve(self, request: RunRequest) -> RunPlan:
        asked = ResolveInput(
            agent=request.agent,
            caller_id=request.invocation.caller_id,
            tenant_id=request.invocation.tenant_id,
        )
        name = request.agent if isinstance(request.agent, str) else request.agent.name
        try:
            resolved = await workflow.execute_activity(
                contracts.RESOLVE,
                asked,
                result_type=Resolved,
                summary=f"agent {name}"[:200],
                **_port_options(PORT_SECONDS),
            )
        except ActivityError as error:
            raise _port_error("resolve", error, Reason.PORT_FAILED) from None
        self.wired = resolved.wired
        if resolved.refusal is not None:
            raise RunError(Status.ERROR, resolved.refusal.reason, resolved.refusal.message)
        if resolved.plan is None:  # pragma: no cover - resolve answers one or the other
            raise RunError(Status.ERROR, Reason.INTERNAL, "resolve answered nothing")
        return resolved.plan

    async def _reserve(self, request: RunRequest, plan: RunPlan) -> None:
        invocation = request.invocation
        check = BudgetCheck(
            run_id=self.key.run_id,
            workflow_run_id=self.key.workflow_run_id,
            caller_id=invocation.caller_id,
            tenant_id=invocation.tenant_id,
            agent_id=plan.agent_id,
            parent_run_id=invocation.parent_run_id,
            seconds=plan.bounds.max_runtime,
            expires_at=self._sweep_at(plan.bounds),
        )
        self.reserved = True  # from here on it may have landed, whatever we hear of it
        try:
            decision = await workflow.execute_activity(
                contracts.BUDGET_CHECK,
                BudgetCheckInput(check=check),
                result_type=BudgetDecision,
                summary=f"reserve {plan.bounds.max_runtime:.0f} s for {invocation.caller_id}"[:200],
                **_port_options(min(PORT_SECONDS, plan.bounds.max_runtime)),
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from None
            text = f"the budget could not be asked, so nothing was spent: {error.cause or error}"
            raise RunError(Status.BUDGET_EXCEEDED, Reason.BUDGET_UNAVAILABLE, text) from None
        if not decision.admitted:
            self.reserved = False
            self.ledger.event("budget_rejected", decision.message, workflow.now())
            text = denial_text(decision)
            raise RunError(Status.BUDGET_EXCEEDED, Reason.BUDGET_REJECTED, text)

    async def _open_audit(self) -> None:
        try:
            await workflow.execute_activity(
                contracts.AUDIT_START,
                self.audit_opening(),
                summary="open the record",
                **_port_options(PORT_SECONDS),
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from None
            # The close can create the record, so an audit that is down now does not stop the run.
            self.ledger.event("audit_late", str(error.cause or error), workflow.now())

    def audit_opening(self) -> AuditOpen:
        """Head of the run's record; complete also for a run that was refused."""
        invocation = self.request.invocation if self.request else None
        agent = self.request.agent if self.request else ""
        named = agent if isinstance(agent, str) else agent.name
        identity = agent if isinstance(agent, str) else agent.identity
        plan = self.plan
        return AuditOpen(
            run_id=self.key.run_id,
            workflow_run_id=self.key.workflow_run_id,
            parent_run_id=invocation.parent_run_id if invocation else None,
            agent_id=plan.agent_id if plan else identity,
            agent_name=plan.agent_name if plan else named,
            caller_id=invocation.caller_id if invocation else "",
            tenant_id=invocation.tenant_id if invocation else "",
            channel_id=invocation.channel_id if invocation else "",
            prompt=invocation.prompt if invocation else "",
            inputs=invocation.inputs if invocation else {},
            models=tuple(target.spec for target in plan.targets) if plan else (),
            prices={t.spec: t.price.model_dump() for t in plan.targets if t.price} if plan else {},
            tools=tuple(
                ToolGrant(name=tool.name, digest=tool.digest, effect=tool.effect)
                for tool in plan.tools
            )
            if plan
            else (),
            started_at=self.started_at,
            deadline_at=self._sweep_at(plan.bounds if plan else Defaults()),
        )

    def _sweep_at(self, bounds: Defaults) -> datetime:
        seconds = bounds.max_runtime + SLACK + bounds.cleanup_seconds + SWEEP_MARGIN
        return self.started_at + timedelta(seconds=seconds + bounds.heartbeat_seconds)

    # -- what can be seen ----------------------------------------------------------------------

    @property
    def iteration(self) -> int:
        """Model turns so far."""
        return self._loop.iteration if self._loop is not None else 0

    def state(self) -> LiveState:
        """The run at this moment."""
        ending = self.ending
        agent = self.request.agent if self.request else ""
        return LiveState(
            run_id=self.key.run_id,
            agent=agent if isinstance(agent, str) else agent.name,
            phase=self.phase,
            status=ending.status.value if ending else "running",
            reason=ending.reason.value if ending else "",
            iteration=self.iteration,
            max_iterations=self.plan.bounds.max_iterations if self.plan else 0,
            started_at=self.started_at,
            deadline_at=self.deadline_at,
            steps=tuple(self.ledger.steps[-STATE_STEPS:]),
            steps_total=len(self.ledger.steps),
            usage=self.ledger.usage,
            cost_micro_usd=self.ledger.cost_micro_usd,
            transcript_messages=len(self.transcript),
            stop=self.stop_why.error if self.stop_why else None,
        )

    def changed(self) -> None:
        """Refresh the live page in the Temporal UI; costs no history."""
        workflow.set_current_details(render(self.state()))


def _port_options(seconds: float) -> workflow.ActivityConfig:
    return workflow.ActivityConfig(
        schedule_to_close_timeout=timedelta(seconds=seconds),
        start_to_close_timeout=timedelta(seconds=min(10.0, seconds)),
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=1),
            maximum_interval=timedelta(seconds=5),
            maximum_attempts=5,
        ),
    )


def _port_error(port: str, error: ActivityError, reason: Reason) -> BaseException:
    if is_cancelled_exception(error):
        return asyncio.CancelledError()
    return RunError(Status.ERROR, reason, f"{port} failed: {error.cause or error}"[:1_000])
