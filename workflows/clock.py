"""The run's clock: workflow time, from the start of work to the deadline."""

import asyncio
from datetime import UTC, datetime, timedelta

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
        self.reach_at: datetime | None = None
        """The latest that a critic can make of the deadline; None = it does not move."""
        self.idle = timedelta(0)
        """Time that is not the run's: from the last thing that a reset kept, to the reset."""
        self.resumed_at: datetime | None = None
        """When the last reset was taken up."""

    @staticmethod
    def now() -> datetime:
        """Workflow time (UTC), as `workflow.now()` tells it.

        From the loop itself, whose time it is: the SDK's way there is six calls longer, and an
        iteration asks eight times.
        """
        return datetime.fromtimestamp(asyncio.get_running_loop().time(), UTC)

    def allow(self, seconds: float) -> None:
        """Let the run take so long from its start."""
        self.deadline_at = self._within(self.started_at + self.idle + timedelta(seconds=seconds))

    def reach(self, seconds: float) -> None:
        """The deadline may move out, to so long from the start at most."""
        self.reach_at = self._within(self.started_at + self.idle + timedelta(seconds=seconds))

    def extend(self, seconds: float) -> float:
        """Move the deadline out, as far as it may go; answers by how many seconds it moved."""
        gained = min(seconds, self.room)
        self.deadline_at = (self.deadline_at or self.started_at) + timedelta(seconds=gained)
        return gained

    def skip(self, since: datetime) -> None:
        """The run was reset: what lies between `since` and now is not its time.

        Without this a run that is reset after its deadline would end at once.
        """
        gap = max(timedelta(0), self.now() - since)
        self.idle += gap
        self.deadline_at = self.deadline_at and self.deadline_at + gap
        self.reach_at = self.reach_at and self.reach_at + gap
        self.latest_at = self.latest_at and self.latest_at + gap

    @property
    def room(self) -> float:
        """Seconds that the deadline may still move out."""
        until = self.deadline_at or self.started_at
        return max(0.0, ((self.reach_at or until) - until).total_seconds())

    def _within(self, until: datetime) -> datetime:
        return min(until, self.latest_at) if self.latest_at else until

    def cap(self, seconds: float) -> None:
        """Never let the run take longer than so long from its start."""
        self.latest_at = self.started_at + self.idle + timedelta(seconds=seconds)

    def seconds_left(self) -> float:
        """Until the deadline; at least 50 ms, so that it can stand in a time-out."""
        return _until(self.deadline_at or self.started_at)

    def seconds_reach(self) -> float:
        """Until the deadline, were it moved as far as it may be: for time-outs, which cannot move.

        An activity with a time-out at today's deadline would die there however it is extended.
        """
        until = self.deadline_at or self.started_at
        return _until(max(until, self.reach_at or until))

    def seconds_elapsed(self) -> float:
        """Since the run began working, without what a reset skipped."""
        return (self.now() - self.started_at - self.idle).total_seconds()

    async def run_out(self) -> None:
        """Return at the deadline, wherever it has moved meanwhile."""
        await workflow.wait_condition(lambda: self.deadline_at is not None)
        while self.deadline_at is not None and self.now() < self.deadline_at:
            await workflow.sleep(self.deadline_at - self.now(), summary="run deadline")


def _until(when: datetime) -> float:
    return max(0.05, (when - Clock.now()).total_seconds())
