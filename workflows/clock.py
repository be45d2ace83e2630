"""The run's clock: workflow time, from the start of work to the deadline."""

from datetime import datetime, timedelta

from temporalio import workflow

SLACK = 5.0
"""Seconds an activity's own time-outs come after the run's timer: the timer is to fire first, since
it cancels gracefully and a time-out does not."""


class Clock:
    """When a run began and when its time is up. The deadline may move out while it runs."""

    def __init__(self, started_at: datetime, deadline_at: datetime | None = None) -> None:
        self.started_at = started_at
        """Workflow time (UTC)."""
        self.deadline_at = deadline_at
        """Workflow time (UTC); None until the plan says how long the run may take."""
        self.latest_at: datetime | None = None
        """Past which the deadline never moves: what the parent of a child run has left for it."""

    def allow(self, seconds: float) -> None:
        """Let the run take so long from its start."""
        until = self.started_at + timedelta(seconds=seconds)
        self.deadline_at = min(until, self.latest_at) if self.latest_at else until

    def cap(self, seconds: float) -> None:
        """Never let the run take longer than so long from its start."""
        self.latest_at = self.started_at + timedelta(seconds=seconds)

    def seconds_left(self) -> float:
        """Until the deadline; at least 50 ms, so that it can stand in a time-out."""
        until = self.deadline_at or self.started_at
        return max(0.05, (until - workflow.now()).total_seconds())

    def seconds_elapsed(self) -> float:
        """Since the run began working."""
        return (workflow.now() - self.started_at).total_seconds()

    async def run_out(self) -> None:
        """Return at the deadline, wherever it has moved meanwhile."""
        await workflow.wait_condition(lambda: self.deadline_at is not None)
        while self.deadline_at is not None and workflow.now() < self.deadline_at:
            await workflow.sleep(self.deadline_at - workflow.now(), summary="run deadline")
