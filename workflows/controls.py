"""What people may do to a run while it runs: stop it, speak to it, raise its limits."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import timedelta

from temporalio import workflow

from executus.contracts import RaiseLimits
from executus.question import Answer, Decision
from executus.redact import Redactor
from executus.sanitize import clean_line
from executus.status import Reason, Status
from executus.steer import MAX_BY, MAX_STEER, SteerReceipt, SteerRequest
from executus.workflows.ending import Ending
from executus.workflows.run import TOO_LATE, Run

UNNAMED, NATIVE = "unknown, signal", "unknown, native cancel"
"""Who cancelled a run, when nobody said so."""
NO_REASON = "no reason given"
MAX_REASON_CHARACTERS = 500
MAX_REASON_READ = 10 * MAX_REASON_CHARACTERS
TEXTS = "one text and, optionally, who says it"


class Controls:
    """The one place that a signal, an update or the clock goes through to change a run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._raises = 0
        self._cancel: Callable[[], object] | None = None

    def attach(self, body: asyncio.Task[Ending | None]) -> None:
        """The task that a stop cancels; at once, when the stop came before it."""
        self._cancel = body.cancel
        if self._run.stop_why is not None:
            body.cancel()

    def stop(self, status: Status, reason: Reason, why: str, *, by: str) -> None:
        """Stop the loop. The first reason counts; a run that has ended takes no note.

        `by` is for the record: who stopped it.
        """
        run = self._run
        if run.ending is not None:
            return
        if run.stop_why is None:
            run.stop_why = Ending(status, reason, error=why)
            run.event("stop", why, reason=reason.value, by=by)
            run.changed()
        if self._cancel is not None:
            self._cancel()

    def cancel(self, said: Sequence[object]) -> None:
        """The signal arrived; `said` is what came with it."""
        why, by = _texts(said) or ("", "")
        who = f"cancelled by {by}" if by else "cancelled"
        text = f"{who}: {_reason(why) or NO_REASON}"
        self.stop(Status.CANCELLED, Reason.CANCEL_SIGNAL, text, by=by or UNNAMED)

    def cancelled(self) -> None:
        """A native cancel arrived: Temporal tells a workflow why, but not by whom."""
        text = f"cancelled: {_reason(workflow.cancellation_reason() or '') or NO_REASON}"
        self.stop(Status.CANCELLED, Reason.CANCEL_REQUEST, text, by=NATIVE)

    # -- steer ---------------------------------------------------------------------------------

    def steer(self, said: Sequence[object]) -> None:
        """The signal arrived: say something to the agent before its next model call."""
        texts = _texts(said)
        if texts is None:
            self._run.event("steer_ignored", f"a steer signal takes {TEXTS}", why=_told(said))
        elif texts[0].strip():
            self._run.say(*texts)

    def steer_problem(self, asked: SteerRequest) -> str | None:
        """Why nothing can be said to the agent, if nothing can."""
        run = self._run
        if run.ending is not None or run.stopping:
            return "the run is stopping: its model is not called again"
        if not asked.text.strip():
            return "nothing to say: the text is empty"
        return f"{MAX_STEER} messages wait already" if run.steer.full else None

    async def deliver(self, asked: SteerRequest, message_id: str) -> SteerReceipt:
        """Say something, and answer when the next model call is to have it, or none will."""
        run = self._run
        # An update may come before the run has taken up what an earlier execution knew.
        run.early.append(asked)
        await workflow.wait_condition(lambda: run.plan is not None or run.ending is not None)
        run.early.remove(asked)
        if run.steer.knows(message_id):  # sent again to the run's next execution
            return SteerReceipt(delivered=True, why="delivered before")
        if run.ending is not None:  # meanwhile: it is noted with what the inbox had
            return SteerReceipt(delivered=False, why=TOO_LATE)
        steer = run.steer.put(asked.text, by=asked.by, message_id=message_id)
        if steer is None:  # others in the same task were quicker
            return SteerReceipt(delivered=False, why=f"{MAX_STEER} messages wait already")
        await workflow.wait_condition(lambda: steer.receipt is not None or run.ending is not None)
        return steer.receipt or SteerReceipt(delivered=False, why=TOO_LATE)

    # -- limits --------------------------------------------------------------------------------

    async def pause(self, why: str, seconds: float | None) -> None:
        """Wait until somebody raises a limit, or for `seconds`."""
        run, before = self._run, self._raises
        run.event("paused", why)
        run.waiting_for("limit", why)
        timeout = None if seconds is None else timedelta(seconds=seconds)
        try:
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: self._raises > before, timeout=timeout, timeout_summary="ask again"
                )
        finally:  # a phase whose time is up stops waiting, and the run goes on
            run.waiting_for("limit", None)

    def answer_problem(self, given: Decision | Answer) -> str | None:
        """Why this cannot be said to the run, if it cannot."""
        if self._run.ending is not None or self._run.stop_why is not None:
            return "the run has ended or is stopping"
        return self._run.questions.problem(given)

    def raise_problem(self, asked: RaiseLimits) -> str | None:
        """Why limits cannot be raised like that, if they cannot."""
        run, now = self._run, self._run.allowance
        if run.ending is not None or run.closing:
            return "the run has ended, or is giving its last answer"
        if now is None:  # before the plan, or what an earlier execution knew, is taken up
            return None
        raised = (
            ("tokens", asked.tokens, now.tokens),
            ("micro_usd", asked.micro_usd, now.micro_usd),
            ("iterations", asked.iterations, now.iterations),
        )
        if not any(new is not None for _, new, _ in raised):
            return f"nothing to raise: give {', '.join(name for name, _, _ in raised)}"
        if asked.iterations is not None and run.plan and run.plan.phases:
            return "iterations: the turns of a phase are its own"
        for name, new, old in raised:
            if new is not None and (old is None or new <= old):
                return f"{name}: {new} is not above the present limit ({old or 'none'})"
        return None

    async def raise_limits(self, asked: RaiseLimits) -> str | None:
        """Raise the run's own limits, and wake it if it waits for that; or say why not."""
        run = self._run
        if run.allowance is None:
            await workflow.wait_condition(lambda: bool(run.allowance or run.ending))
            problem = self.raise_problem(asked)
            if problem is not None:
                return problem
        now = run.allowance
        if now is None:
            return "the run ended before it had limits"
        now.tokens = asked.tokens or now.tokens
        now.micro_usd = asked.micro_usd or now.micro_usd
        now.iterations = asked.iterations or now.iterations
        text = f"{now.tokens} tokens, {now.micro_usd} micro-USD, {now.iterations} iterations"
        who = asked.by or "somebody"
        run.event("limits_raised", f"limits raised by {who}: {text}", by=asked.by)
        self._raises += 1
        run.changed()
        return None


def _texts(said: Sequence[object]) -> tuple[str, str] | None:
    """A text and who says it; None when it is anything else."""
    text, by, *more = (*said, "", "")[: max(2, len(said))]
    by = by or ""  # null is nobody
    if more or not said or not isinstance(text, str) or not isinstance(by, str):
        return None
    return text, clean_line(by, MAX_BY)


def _reason(why: str) -> str:
    """Why somebody stopped a run, as its result and record say it: a line without secrets."""
    return clean_line(Redactor().text(why[:MAX_REASON_READ]), MAX_REASON_CHARACTERS)


def _told(said: Sequence[object]) -> str:
    """The kinds of what came, not what it says: nobody has redacted that."""
    return f"it came with {', '.join(type(one).__name__ for one in said) or 'nothing'}"
