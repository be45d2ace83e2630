"""Ledger: the live record of a run's steps, events, usage and cost.

One ledger for everything a run paid for; the result, the state query and the audit read it.
"""

from dataclasses import dataclass, field
from datetime import datetime

from executus.audit import AuditRow
from executus.contracts import TOOL_PREFIX
from executus.sanitize import clean_line
from executus.step import MAX_SUMMARY, StepRecord, StepStatus
from executus.usage import Usage

MAX_EVENTS = 500
"""Events kept; the rest is counted. Loops that nudge for ever are stopped long before."""


@dataclass(slots=True)
class Ledger:
    """Steps in order of dispatch, events in order, sums. Times are given, never read."""

    steps: list[StepRecord] = field(default_factory=list[StepRecord])
    """Those of this execution."""
    earlier: tuple[StepRecord, ...] = ()
    """The newest ones of earlier executions."""
    steps_before: int = 0
    """All of earlier executions."""
    events: list[AuditRow] = field(default_factory=list[AuditRow])
    """Compaction, failover, nudge, steer, limit, cancel."""
    events_total: int = 0
    """All events, those not kept included."""
    attempts: dict[str, int] = field(default_factory=dict[str, int])
    """Step id -> the Temporal attempt that brought its outcome; 0 when none did."""
    messages: dict[str, int] = field(default_factory=dict[str, int])
    """Step id -> index of the message it brought to the conversation, noted as it is said."""
    usage: Usage = field(default_factory=Usage)
    """Sum over all steps."""
    cost_micro_usd: int | None = 0
    """Sum; None from the first call on whose price is not known."""
    tool_calls: int = 0
    """Tool calls dispatched so far."""
    phase: str = ""
    """Name of the phase that steps belong to now."""
    resets: int = 0
    """Resets that lie in this execution's history so far."""
    _index: dict[str, int] = field(default_factory=dict[str, int])
    _begun: dict[str, int] = field(default_factory=dict[str, int])
    """Step id -> resets before its beginning, where there were any."""
    _ended: dict[str, int] = field(default_factory=dict[str, int])
    """Step id -> resets before its end, where there were any."""

    @property
    def total(self) -> int:
        """Steps of all executions."""
        return self.steps_before + len(self.steps)

    def newest(self, count: int) -> tuple[StepRecord, ...]:
        """The newest steps, in order."""
        own = self.steps[-count:]
        room = count - len(own)
        return (*self.earlier[max(0, len(self.earlier) - room) :], *own) if room else tuple(own)

    def begin(self, step_id: str, kind: str, iteration: int, summary: str, now: datetime) -> None:
        """A step is dispatched."""
        self._index[step_id] = len(self.steps)
        self.attempts[step_id] = 0
        if self.resets:
            self._begun[step_id] = self.resets
        self.tool_calls += kind.startswith(TOOL_PREFIX)
        self.steps.append(
            StepRecord(
                id=step_id,
                kind=kind,
                iteration=iteration,
                phase=self.phase,
                summary=clean_line(summary, MAX_SUMMARY),
                started_at=now,
            )
        )

    def is_open(self, step_id: str) -> bool:
        """Whether a step has begun and has no outcome yet."""
        index = self._index.get(step_id)
        return index is not None and self.steps[index].status == "running"

    def was_reset(self) -> None:
        """What is here was done by an earlier execution, and what comes is not."""
        self.resets += 1
        self.events = [
            event.model_copy(update={"resets_since": event.resets_since + 1})
            for event in self.events
        ]

    def placed(self, step_id: str, row: AuditRow) -> AuditRow:
        """The row of a step, with how many resets came after it."""
        if not self.resets:
            return row
        begun = self._begun.get(step_id, 0)
        ended = max(begun, self._ended.get(step_id, 0))
        across = begun < ended and bool(self.attempts[step_id])
        since = {"resets_since": self.resets - ended, "across": across}
        return row.model_copy(update=since)

    def note_child(self, step_id: str, run_id: str) -> None:
        """A step is a child run, and this is its id."""
        index = self._index[step_id]
        self.steps[index] = self.steps[index].model_copy(update={"child_run_id": run_id})

    def finish(
        self,
        step_id: str,
        status: StepStatus,
        now: datetime,
        *,
        summary: str = "",
        usage: Usage | None = None,
        cost_micro_usd: int | None = None,
        model: str = "",
        attempt: int = 0,
    ) -> None:
        """A step has an outcome."""
        index = self._index[step_id]
        step = self.steps[index]
        text = clean_line(summary, MAX_SUMMARY) if summary else step.summary
        self.steps[index] = step.model_copy(
            update={
                "status": status,
                "ended_at": now,
                "summary": text,
                "usage": usage,
                "cost_micro_usd": cost_micro_usd,
                "model": model,
            }
        )
        self.attempts[step_id] = attempt
        if self.resets:
            self._ended[step_id] = self.resets
        if usage is not None:
            self.usage += usage
            known = self.cost_micro_usd is not None and cost_micro_usd is not None
            self.cost_micro_usd = (
                (self.cost_micro_usd or 0) + (cost_micro_usd or 0) if known else None
            )

    def event(self, name: str, summary: str, now: datetime, **content: str | float | None) -> None:
        """Something happened that is no step."""
        text = clean_line(summary, MAX_SUMMARY)
        self.adopt(
            AuditRow(
                key="",
                kind="event",
                name=name,
                status="",
                at=now,
                summary=text,
                content=dict(content),
            )
        )

    def adopt(self, event: AuditRow) -> None:
        """Take an event in, under the next key."""
        self.events_total += 1
        if len(self.events) < MAX_EVENTS:
            key = {"key": f"e{self.events_total}", "resets_since": 0}
            self.events.append(event.model_copy(update=key))
