"""The sweep as a workflow, so that a Temporal Schedule can run it; deterministic, sandbox-safe."""

from datetime import timedelta

from pydantic import Field
from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from executus.data import Data, empty
    from executus.status import Reason, Status

SWEEP = "executus.sweep"
"""Activity type."""
SWEEP_WORKFLOW = "executus.Sweep"
"""Workflow type."""
SCHEDULE_ID = "executus-sweep"


class SweepInput(Data):
    """How to sweep."""

    grace: float = Field(default=60.0, ge=0)
    """Seconds that a run which ended gets to close by itself."""
    lost_after: float = Field(default=86_400.0, ge=0)
    """Seconds past its time after which a run that Temporal does not know is given up."""
    stuck_attempts: int = Field(default=5, ge=1)
    """Attempts of one workflow task after which a running workflow is reported as stuck."""
    everything: bool = False
    """Ask about every open run, not only those past their time."""
    limit: int = Field(default=1_000, ge=1)
    """Runs that one sweep closes at most, the most overdue first. What it leaves alone, or
    fails at by a fault of the run's own, does not count."""


class SweptRun(Data):
    """A run that the sweep closed or settled."""

    run_id: str
    """The run."""
    status: Status
    """What became of it."""
    reason: Reason
    """Which way."""
    closed: bool
    """Its audit was open and is closed now."""
    settled: bool
    """Its hold was there and is settled now."""
    delivered: bool = False
    """Its outcome reached the receiver that its own cleanup did not come to."""
    kept: bool = False
    """Its outcome waits as a dead letter: it did not land, or cannot be sent from here."""


class SweepReport(Data):
    """What a sweep found and did."""

    looked: int = 0
    """Runs it asked Temporal about."""
    live: int = 0
    """Runs that go on: left alone."""
    waiting: int = 0
    """Runs that ended a moment ago, or that Temporal does not know yet: left for the next sweep."""
    swept: tuple[SweptRun, ...] = ()
    """Runs it closed or settled."""
    stuck: tuple[str, ...] = ()
    """Running workflows whose workflow task fails again and again: a person has to look."""
    failed: tuple[str, ...] = ()
    """Runs it could not ask about or write down, with the reason: as many as the limit."""
    failed_total: int = 0
    """All of them."""
    cut: bool = Field(default=False, exclude_if=empty)
    """It did its share (`SweepInput.limit`) and looked no further: call it again."""


@workflow.defn(name=SWEEP_WORKFLOW)
class SweepRun:
    """One sweep. Two at once do no harm."""

    @workflow.run
    async def run(self, asked: SweepInput) -> SweepReport:
        """Sweep, and answer what was found."""
        report: SweepReport = await workflow.execute_activity(
            SWEEP,
            asked,
            result_type=SweepReport,
            start_to_close_timeout=timedelta(minutes=30),
            heartbeat_timeout=timedelta(minutes=1),
            retry_policy=RetryPolicy(maximum_attempts=3),
        )
        return report
