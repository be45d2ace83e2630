"""The run's clock: workflow time, from the start of work to the deadline."""

from dataclasses import dataclass
from datetime import datetime

from temporalio import workflow

SLACK = 5.0
"""Seconds an activity's own time-outs come after the run's timer: the timer is to fire first, since
it cancels gracefully and a time-out does not."""


@dataclass(frozen=True, slots=True)
class Clock:
    """When a run began and when its time is up."""

    started_at: datetime
    """Workflow time (UTC)."""
    deadline_at: datetime
    """Workflow time (UTC)."""

    def seconds_left(self) -> float:
        """Until the deadline; at least 50 ms, so that it can stand in a time-out."""
        return max(0.05, (self.deadline_at - workflow.now()).total_seconds())

    def seconds_elapsed(self) -> float:
        """Since the run began working."""
        return (workflow.now() - self.started_at).total_seconds()
