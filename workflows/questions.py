"""Questions: what a run waits for people to say, and what they said.

Time goes on meanwhile: silence becomes a no, and the run's deadline rules over both.
"""

import contextlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from temporalio import workflow

from executus.question import Answer, Decision, Question, QuestionKind
from executus.sanitize import clean_line, clean_text
from executus.steer import MAX_BY
from executus.workflows.clock import Clock

MAX_SETTLED = 1_000
"""Questions of the past that a repeated answer is checked against."""

EXPIRES = "answer expires"
"""What the Temporal UI shows of the timer."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a person said to one question."""

    yes: bool
    """Approved, or answered."""
    by: str
    """Who."""
    text: str = ""
    """The note, or the answer."""


@dataclass(slots=True)
class Questions:
    """Pending and settled ones of one execution; none is pending between two iterations."""

    pending: dict[str, Question] = field(default_factory=dict[str, Question])
    """Step id -> the question."""
    settled: dict[str, str] = field(default_factory=dict[str, str])
    """Step id -> how it was settled, for whoever answers once more."""
    _said: dict[str, Said] = field(default_factory=dict[str, Said])

    def problem(self, given: Decision | Answer) -> str | None:
        """Why this cannot be said to a question, if it cannot."""
        kind: QuestionKind = "answer" if isinstance(given, Answer) else "approval"
        question = self.pending.get(given.step_id)
        if given.step_id in self.settled:
            return f"{given.step_id}: already settled: {self.settled[given.step_id]}"
        if question is None or question.kind != kind:
            waiting = ", ".join(s for s, q in self.pending.items() if q.kind == kind) or "none"
            return f"{given.step_id}: no {kind} is asked for there; waiting: {waiting}"
        if given.digest != question.digest:
            return f"{given.step_id}: the digest is another one than the call's: look at it again"
        if workflow.now() >= question.expires_at:
            return f"{given.step_id}: too late: it expired at {question.expires_at:%H:%M:%S} UTC"
        options = question.options
        if isinstance(given, Answer) and options and given.text not in options:
            return f"{given.step_id}: the answer must be one of: {', '.join(options)}"
        return None

    def say(self, given: Decision | Answer, *, yes: bool) -> None:
        """Take in what `problem` has passed."""
        text = clean_text(given.text if isinstance(given, Answer) else given.note)
        by = clean_line(given.by, MAX_BY) or "somebody"
        self._said[given.step_id] = Said(yes, by, text)
        self._settle(given.step_id, f"{'yes' if yes else 'no'} by {by}")

    async def ask(self, question: Question, clock: Clock) -> Said | None:
        """Wait for what is said; None when nobody said anything in time.

        No timer of its own where the run's deadline is the end of that time, unless it moves out:
        the two would fire one after the other, and the run would begin something in between.
        """
        step_id = question.step_id
        self.pending[step_id] = question

        def is_ruled() -> bool:
            return clock.deadline_at is not None and clock.deadline_at <= question.expires_at

        try:
            if is_ruled():
                await workflow.wait_condition(lambda: step_id in self._said or not is_ruled())
            if step_id not in self._said:
                left = max(timedelta(0), question.expires_at - workflow.now())
                with contextlib.suppress(TimeoutError):
                    await workflow.wait_condition(
                        lambda: step_id in self._said, timeout=left, timeout_summary=EXPIRES
                    )
            said = self._said.pop(step_id, None)
            if said is None:
                self._settle(step_id, "nobody answered in time")
            return said
        finally:
            self.pending.pop(step_id, None)

    def _settle(self, step_id: str, how: str) -> None:
        self.pending.pop(step_id, None)
        self.settled[step_id] = how
        while len(self.settled) > MAX_SETTLED:
            self.settled.pop(next(iter(self.settled)))


def expiry(seconds: float, deadline_at: datetime | None) -> datetime:
    """When silence becomes a no: after so many seconds, and not after the run's deadline."""
    until = workflow.now() + timedelta(seconds=seconds)
    return until if deadline_at is None else min(until, deadline_at)
