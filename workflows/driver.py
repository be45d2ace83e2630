"""One run, or one execution of a long one, from first to last: and know why it stopped.

Three tasks: the body (prepare, loop), one run-long timer, and after them the cleanup
(`AgentRun.run`). The driver only waits, so it alone decides what a cancel means.
"""

import asyncio
import contextlib
from collections import deque
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from executus import contracts
from executus.audit import AuditOpen
from executus.carry import Carry
from executus.contracts import AuditFlushInput, RaiseLimits, RestoreInput, RunKey
from executus.data import Data
from executus.digest import digest
from executus.errors import RequestError, RunError
from executus.limits import Defaults
from executus.plan import Port, RunPlan
from executus.request import RunRequest
from executus.state import STATE_STEPS, LiveState, Phase
from executus.status import Reason, Status
from executus.transcript import Transcript, TranscriptPage
from executus.workflows.allowance import Allowance
from executus.workflows.answer import best_text
from executus.workflows.clock import Clock
from executus.workflows.details import SHOWN_STEPS, render
from executus.workflows.ending import Ending
from executus.workflows.engine import TemporalEngine
from executus.workflows.handover import pack, unpack_ledger, unpack_loop
from executus.workflows.ledger import Ledger
from executus.workflows.loop import AgentLoop
from executus.workflows.opening import opening_message
from executus.workflows.perform import Options, perform
from executus.workflows.prepare import audit_opening, open_audit, reserve, resolve
from executus.workflows.scope import wait_for_end

RESTORE_SECONDS = 300.0
"""For reading what an earlier execution could not carry: it is replayed to answer."""
FLUSH_SECONDS = 60.0
"""For the audit to take what this execution knows, before the next one begins."""


class Nothing(Data):
    """Result of an activity that has none."""


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
        self.carry: Carry | None = None
        self.allowance: Allowance | None = None
        self.waiting: str | None = None
        self._raises = 0
        self._dirty = False
        self.started_at: datetime = workflow.now()
        self.deadline_at: datetime | None = None
        self._earlier: Carry | None = None
        self._loop: AgentLoop | None = None
        self._body: asyncio.Task[Ending | None] | None = None

    async def drive(self, request: RunRequest, earlier: Carry | None) -> Ending | None:
        """Run to an ending, whatever cancels and signals arrive meanwhile. Never raises.

        None: the history is full, and `carry` is what the next execution needs.
        """
        self.request = request
        self._earlier = earlier
        self.started_at = earlier.started_at if earlier else workflow.now()
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

    async def pause(self, why: str, seconds: float | None) -> None:
        """Wait until somebody raises a limit, or for `seconds`."""
        before = self._raises
        self.phase, self.waiting = "paused", why
        self.ledger.event("paused", why, workflow.now())
        self.changed()
        timeout = None if seconds is None else timedelta(seconds=seconds)
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._raises > before, timeout=timeout, timeout_summary="ask again"
            )
        self.phase, self.waiting = "running", None
        self.changed()

    def raise_problem(self, asked: RaiseLimits) -> str | None:
        """Why limits cannot be raised like that, if they cannot."""
        now = self.allowance
        if self.ending is not None or now is None:
            return "the run is not running"
        if asked.tokens is None and asked.micro_usd is None:
            return "nothing to raise: give tokens or micro_usd"
        for name, new, old in (
            ("tokens", asked.tokens, now.tokens),
            ("micro_usd", asked.micro_usd, now.micro_usd),
        ):
            if new is not None and (old is None or new <= old):
                return f"{name}: {new} is not above the present limit ({old or 'none'})"
        return None

    def raise_limits(self, asked: RaiseLimits) -> None:
        """Raise the run's own limits, and wake it if it waits for that."""
        now = self.allowance
        if now is None:  # pragma: no cover - the validator refused it
            return
        now.tokens = asked.tokens or now.tokens
        now.micro_usd = asked.micro_usd or now.micro_usd
        text = f"limits raised by {asked.by or 'somebody'}: {now.tokens} tokens, {now.micro_usd}"
        self.ledger.event("limits_raised", f"{text} micro-USD", workflow.now(), by=asked.by)
        self._raises += 1
        self.changed()

    def cancelled(self) -> None:
        """A native cancel arrived."""
        why = workflow.cancellation_reason() or "no reason given"
        self.stop(Status.CANCELLED, Reason.CANCEL_REQUEST, f"cancelled: {why}")

    def _outcome(self, body: asyncio.Task[Ending | None]) -> Ending | None:
        if not body.cancelled() and body.exception() is None:
            ending = body.result()
            # A stop that met the handover counts: the next execution would not hear of it.
            return self._stopped(self.stop_why) if ending is None and self.stop_why else ending
        error = None if body.cancelled() else body.exception()
        stopped = error is None or is_cancelled_exception(error)
        if stopped and self.stop_why is not None:
            return self._stopped(self.stop_why)
        # A bug, in executus or its host: end the run with it instead of hanging the workflow task.
        workflow.logger.error("executus: bug in the run", exc_info=error)
        text = f"internal error: {type(error).__name__}: {error}"[:1_000]
        partial = best_text(self.transcript.messages)
        return Ending(Status.ERROR, Reason.INTERNAL, partial, error=text)

    def _stopped(self, why: Ending) -> Ending:
        return Ending(why.status, why.reason, best_text(self.transcript.messages), error=why.error)

    async def _time_out(self) -> None:
        """The one run-long timer; armed once the plan says how long the run may take."""
        await workflow.wait_condition(lambda: self.deadline_at is not None)
        if self.deadline_at is not None:
            left = max(timedelta(0), self.deadline_at - workflow.now())
            await workflow.sleep(left, summary="run deadline")

    def _deadline_text(self) -> str:
        used = (workflow.now() - self.started_at).total_seconds()
        return f"deadline: {used:.0f} s used, {self.ledger.total} steps done"

    # -- body ----------------------------------------------------------------------------------

    async def _work(self, request: RunRequest) -> Ending | None:
        try:
            plan = await (self._resume(self._earlier) if self._earlier else self._prepare(request))
        except RunError as error:
            return Ending(error.status, error.reason, error=str(error))
        except RequestError as error:
            return Ending(Status.ERROR, error.reason, error=str(error))
        self.phase = "running"
        self.changed()
        clock = Clock(self.started_at, self.deadline_at or self.started_at)
        engine = TemporalEngine(
            key=self.key,
            plan=plan,
            plan_digest=digest(plan.model_dump_json().encode()),
            invocation=request.invocation,
            transcript=self.transcript,
            ledger=self.ledger,
            clock=clock,
            stopping=lambda: self.stop_why is not None,
            changed=self.changed,
            pause=self.pause,
            iteration=self._earlier.iteration if self._earlier else 0,
        )
        self.allowance = self.allowance or Allowance.of(plan)
        loop = self._loop = AgentLoop(
            plan,
            self.transcript,
            self.ledger,
            steer=self.steer,
            engine=engine,
            allowance=self.allowance,
        )
        if self._earlier is not None:
            unpack_loop(self._earlier, loop)
        ending = await loop.run()
        if ending is None:
            await self._hand_over(request, plan, clock, loop)
        return ending

    async def _prepare(self, request: RunRequest) -> RunPlan:
        """Resolve, reserve, open: the first execution only."""
        opening = opening_message(request.invocation)
        resolved = await resolve(request)
        self.wired = resolved.wired
        if resolved.refusal is not None:
            raise RunError(Status.ERROR, resolved.refusal.reason, resolved.refusal.message)
        if resolved.plan is None:  # pragma: no cover - resolve answers one or the other
            raise RunError(Status.ERROR, Reason.INTERNAL, "resolve answered nothing")
        plan = self.plan = resolved.plan
        self.deadline_at = self.started_at + timedelta(seconds=plan.bounds.max_runtime)
        if "budget" in plan.wired:
            self.reserved = True  # from here on it may have landed, whatever we hear of it
            denial = await reserve(self.key, request.invocation, plan, self.started_at)
            if denial is not None:
                self.reserved = False
                self.ledger.event("budget_rejected", denial, workflow.now())
                raise RunError(Status.BUDGET_EXCEEDED, Reason.BUDGET_REJECTED, denial)
        if "audit" in plan.wired:
            late = await open_audit(self.opening())
            if late is not None:
                self.ledger.event("audit_late", late, workflow.now())
        self.transcript.append(opening)
        return plan

    async def _resume(self, earlier: Carry) -> RunPlan:
        """Take up what the last execution handed over."""
        plan = self.plan = earlier.plan
        self.wired = plan.wired
        self.reserved = earlier.reserved
        allowance = self.allowance = Allowance.of(plan)
        allowance.tokens, allowance.micro_usd = earlier.tokens_limit, earlier.micro_usd_limit
        self.deadline_at = earlier.deadline_at
        self.steer.extendleft(reversed(earlier.steer))
        events = self.ledger.events  # of signals that came before
        unpacked = unpack_ledger(earlier)
        for event in events:
            unpacked.event(event.name, event.summary, event.at)
        self.ledger = unpacked
        if earlier.messages is not None:
            for message in earlier.messages:
                self.transcript.append(message)
        options = Options(whole=RESTORE_SECONDS, attempt=RESTORE_SECONDS, longest_pause=10.0)
        while len(self.transcript) < earlier.message_count:
            asked = RestoreInput(execution=earlier.from_execution, start=len(self.transcript))
            try:
                page = await perform(
                    contracts.RESTORE,
                    asked,
                    TranscriptPage,
                    options,
                    f"messages from {asked.start}",
                )
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise asyncio.CancelledError from None
                text = f"the conversation could not be read back: {error.cause or error}"
                raise RunError(Status.ERROR, Reason.INTERNAL, text) from None
            for message in page.messages:
                self.transcript.append(message)
        return plan

    async def _hand_over(
        self, request: RunRequest, plan: RunPlan, clock: Clock, loop: AgentLoop
    ) -> None:
        """Let the audit take what only this execution knows, and pack the rest."""
        if "audit" in plan.wired:
            asked = AuditFlushInput(
                opening=self.opening(),
                events=tuple(self.ledger.events),
                row_keys=self.ledger.total,
            )
            options = Options(whole=FLUSH_SECONDS, attempt=20.0, longest_pause=10.0)
            try:
                await perform(contracts.AUDIT_FLUSH, asked, Nothing, options, "before going on")
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise asyncio.CancelledError from None
                text = f"rows of an execution may be missing: {error.cause or error}"
                self.ledger.event("audit_gap", text, workflow.now())
        self.carry = pack(
            request=request,
            plan=plan,
            clock=clock,
            reserved=self.reserved,
            loop=loop,
            ledger=self.ledger,
            steer=self.steer,
            execution=workflow.info().run_id,
        )

    def opening(self) -> AuditOpen:
        """Head of the run's record."""
        return audit_opening(self.key, self.request, self.plan, self.started_at)

    # -- what can be seen ----------------------------------------------------------------------

    @property
    def bounds(self) -> Defaults:
        """The run's bounds, or the defaults before there is a plan."""
        return self.plan.bounds if self.plan else Defaults()

    @property
    def iteration(self) -> int:
        """Model turns so far."""
        return self._loop.iteration if self._loop is not None else 0

    def state(self, steps: int = STATE_STEPS) -> LiveState:
        """The run at this moment, with so many of its newest steps."""
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
            steps=self.ledger.newest(steps),
            steps_total=self.ledger.total,
            usage=self.ledger.usage,
            cost_micro_usd=self.ledger.cost_micro_usd,
            transcript_messages=len(self.transcript),
            waiting=self.waiting,
            tokens_limit=self.allowance.tokens if self.allowance else None,
            micro_usd_limit=self.allowance.micro_usd if self.allowance else None,
            stop=self.stop_why.error if self.stop_why else None,
        )

    def changed(self) -> None:
        """Refresh the live page in the Temporal UI, once per workflow task; costs no history."""
        if not self._dirty:
            self._dirty = True
            asyncio.get_running_loop().call_soon(self._refresh)

    def _refresh(self) -> None:
        self._dirty = False
        workflow.set_current_details(render(self.state(SHOWN_STEPS)))
