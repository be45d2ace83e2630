"""Watch: one durable timer an idle time, a look where it finds silence, and the critic's decisions.

Activity only moves the next look, so a busy run costs one timer each idle time and no more. What
history does not show (a tool's heartbeat, a child's step) is pulled by the look itself.
"""

import asyncio
from datetime import datetime

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from executus import contracts
from executus.critic import JUDGE, MAX_STEPS, Cause, CriticPlan, next_look
from executus.critic_look import CriticLook, CriticSeen
from executus.critic_view import CriticDecision
from executus.digest import digest
from executus.errors import RunError
from executus.status import Reason, Status
from executus.steer import CRITIC
from executus.workflows.allowance import NO_STAKE
from executus.workflows.controls import Controls
from executus.workflows.perform import Options, perform
from executus.workflows.run import Run
from executus.workflows.scope import wait_for_end

LOOK_SECONDS = 150.0
"""For one look, retries of a judge's model included."""
ATTEMPT_SECONDS = 90.0
JUDGE_INPUT_TOKENS = 8_000
"""What a judge is shown at most, about: has to fit into the run's own limits."""
JUDGE_OUTPUT_TOKENS = 2_048


class Watch:
    """Watches one execution of a run; lives in the workflow."""

    def __init__(self, run: Run, controls: Controls) -> None:
        self._run = run
        self._controls = controls
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Watch the run from now on, if its plan has a critic that somebody drives."""
        plan = self._run.plan
        if plan is not None and plan.watched is not None:
            name = digest(plan.model_dump_json().encode())
            self._task = asyncio.create_task(self._watch(plan.watched, name))

    async def end(self) -> None:
        """Stop watching; a judge that is being asked is waited for until it has stopped."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await wait_for_end(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not is_cancelled_exception(error):
            # A bug of ours must not take the run with it: nobody watched any more, that is all.
            workflow.logger.error("executus: bug in the watch", exc_info=error)
            self._run.event("critic_failed", f"{type(error).__name__}: {error}")

    async def _watch(self, plan: CriticPlan, plan_digest: str) -> None:
        run = self._run
        while not run.stopping:
            deadline = run.clock.deadline_at or workflow.now()
            left = self._extensions_left(plan)
            look = next_look(plan, run.critic, run.active_at, deadline, left)
            if look is None:
                return
            at, cause = look
            if run.stage == "paused":  # people are waited for: no silence that a critic could cure
                await workflow.wait_condition(lambda: run.stage != "paused")
            elif at > workflow.now():
                await workflow.sleep(at - workflow.now(), summary=f"critic: {cause}")
            else:
                await self._look(plan, plan_digest, cause, deadline)

    # -- one look ------------------------------------------------------------------------------

    async def _look(
        self, plan: CriticPlan, plan_digest: str, cause: Cause, deadline: datetime
    ) -> None:
        run, now, before = self._run, workflow.now(), self._run.critic
        reviewed = deadline if cause == "deadline" else before.reviewed
        self._note(looked_at=now, reviewed=reviewed)
        if plan.kind == JUDGE and (problem := self._unaffordable()) is not None:
            run.event("critic_failed", problem)
            return
        look = self._question(plan, plan_digest, cause, now)
        summary = f"{plan.kind}: {cause}"
        try:
            seen = await perform(contracts.CRITIC, look, CriticSeen, self._options(plan), summary)
        except (ActivityError, asyncio.CancelledError) as error:
            if is_cancelled_exception(error):
                run.critic = before  # the next execution is to look instead
                raise asyncio.CancelledError from None
            failed = f"{error.__cause__ or error}"[:500]
            seen = CriticSeen(active_at=look.active_at, failed=failed, attempt=0)
        finally:
            self._asked()
        if seen.active_at > look.active_at:
            self._note(seen_at=seen.active_at)
        if (now - seen.active_at).total_seconds() < plan.idle_seconds:
            self._note(looked_at=None)  # not silent: the next look is due from that sign of life
        if seen.asked:
            self._record(look.step_id, seen, now)
        if seen.decision is not None:
            self._apply(plan, seen.decision, cause, now)

    def _question(
        self, plan: CriticPlan, plan_digest: str, cause: Cause, now: datetime
    ) -> CriticLook:
        run, state = self._run, self._run.critic
        return CriticLook(
            key=run.key,
            step_id=f"w{state.asked + 1}",
            plan_digest=plan_digest,
            cause=cause,
            at=now,
            active_at=max(run.active_at, state.seen_at or run.active_at),
            judged_at=state.judged_at,
            seconds_left=run.clock.seconds_left(),
            extensions_left=self._extensions_left(plan),
            extend_seconds=min(plan.extend_seconds, run.clock.room),
            caller_id=run.invocation.caller_id,
            tenant_id=run.invocation.tenant_id,
        )

    def _options(self, plan: CriticPlan) -> Options:
        """A judge's call is paid for: it is told to stop, and waited for."""
        paid = plan.kind == JUDGE
        whole = min(LOOK_SECONDS, self._run.clock.seconds_left())
        return Options(
            whole=max(1.0, whole),
            attempt=ATTEMPT_SECONDS,
            attempts=3,
            longest_pause=10.0,
            heartbeat=self._run.bounds.heartbeat_seconds if paid else None,
        )

    def _unaffordable(self) -> str | None:
        """Why the run's own limits leave nothing for a judge, if so; else it counts as asked."""
        run, plan = self._run, self._run.plan
        if plan is None or run.allowance is None or run.allowance.unlimited:
            return None
        judge = run.allowance.beside(plan.critic_targets or plan.targets, JUDGE_OUTPUT_TOKENS)
        used, spent = run.ledger.usage.total_tokens, run.ledger.cost_micro_usd
        try:
            room = judge.room(used, spent, JUDGE_INPUT_TOKENS, keep=False)
        except RunError as error:
            return f"no judge was asked: {error}"
        if room < JUDGE_OUTPUT_TOKENS:
            return f"no judge was asked: the run's limits leave {room} tokens for what it says"
        run.allowance.judge = judge.worst(JUDGE_INPUT_TOKENS, JUDGE_OUTPUT_TOKENS)
        run.allowance.look = asyncio.Event()
        return None

    def _asked(self) -> None:
        """What a judge took is known."""
        allowance = self._run.allowance
        if allowance is not None and allowance.look is not None:
            allowance.look.set()
            allowance.judge, allowance.look = NO_STAKE, None

    # -- what comes of it ----------------------------------------------------------------------

    def _record(self, step_id: str, seen: CriticSeen, begun: datetime) -> None:
        """A decision is a step, and so is the failure to make one."""
        run, now = self._run, workflow.now()
        self._note(asked=run.critic.asked + 1)
        run.ledger.begin(step_id, "critic", run.iteration, seen.summary, begun)
        run.ledger.finish(
            step_id,
            "error" if seen.decision is None else "complete",
            now,
            usage=seen.usage,
            cost_micro_usd=seen.cost_micro_usd,
            model=seen.spec,
            attempt=seen.attempt,
        )
        for failover in seen.failovers:
            text = f"{failover.spec}: {failover.fault}: {failover.message}"
            run.event("failover", text, spec=failover.spec)
        if seen.failed is not None:
            run.event("critic_failed", seen.failed)

    def _apply(
        self, plan: CriticPlan, decision: CriticDecision, cause: Cause, begun: datetime
    ) -> None:
        """Carry a decision out. A run that is being stopped takes none, so a kill stays one."""
        run = self._run
        if cause == "idle":
            self._note(judged_at=begun)
        if run.stopping or run.ending is not None:
            return
        if decision.kill is not None:
            self._kill(decision.kill, cause, begun)
            return
        if decision.extend > 0:
            self._extend(plan, min(decision.extend, plan.extend_seconds))
        if decision.raise_steps > 0:
            self._raise(decision.raise_steps)
        if decision.nudge:
            run.say(f"[critic] {decision.nudge}", by=plan.kind, source=CRITIC)

    def _kill(self, reason: str, cause: Cause, begun: datetime) -> None:
        """End the run; not one that came to life while the critic thought about its silence.

        Nor one that has come to wait for people meanwhile: for that nobody is killed.
        """
        woke = cause == "idle" and self._run.active_at > begun
        if woke or self._run.stage == "paused":
            self._run.event("critic_overtaken", f"not killed, it goes on: {reason}")
            return
        text = f"killed by the critic: {reason}"
        self._controls.stop(Status.KILLED, Reason.CRITIC, text, by="critic")

    def _extend(self, plan: CriticPlan, seconds: float) -> None:
        run, given = self._run, self._run.critic.extensions
        if self._extensions_left(plan) < 1:
            used = given >= plan.extensions
            why = f"{given} extensions are used up" if used else "the deadline moves no further"
            run.event("extension_refused", why)
            return
        gained = run.clock.extend(seconds)
        self._note(extensions=given + 1)
        until = run.clock.deadline_at
        run.event("extended", f"by {gained:.0f} s, until {until:%H:%M:%S} UTC", seconds=gained)

    def _raise(self, steps: int) -> None:
        """More turns, up to a bound that no sum passes. Phases keep their own caps."""
        run = self._run
        if run.plan is None or run.allowance is None or run.plan.phases:
            run.event("raise_refused", "the turns of a phase are its own")
            return
        now = run.allowance.iterations
        run.allowance.iterations = max(now, min(MAX_STEPS, now + steps))
        run.event("limits_raised", f"max_iterations {run.allowance.iterations}", by="critic")

    def _extensions_left(self, plan: CriticPlan) -> int:
        """None where the deadline cannot move: a child run may be as long as it may ever be."""
        left = plan.extensions - self._run.critic.extensions
        return max(0, left) if self._run.clock.room > 0 else 0

    def _note(self, **changes: object) -> None:
        self._run.critic = self._run.critic.model_copy(update=changes)
