"""Tally: what one sweep came upon."""

from dataclasses import dataclass, field

from temporalio.service import RPCError, RPCStatusCode

from executus.errors import ConfigError, StoreError
from executus.redact import Redactor
from executus.sanitize import clean_line
from executus.sweeper_workflow import SweepReport, SweptRun

BUSY = {
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
}
"""Temporal does not answer, or not now: no fault of the run that was asked about."""


@dataclass(slots=True)
class Tally:
    """Counts of a sweep that goes on."""

    looked: set[str] = field(default_factory=set[str])
    """Runs that it asked about."""
    live: int = 0
    """Those that go on."""
    waiting: int = 0
    """Those that another sweep will close."""
    swept: list[SweptRun] = field(default_factory=list[SweptRun])
    """What it closed."""
    stuck: list[str] = field(default_factory=list[str])
    """Running workflows whose task fails again and again."""
    failed: list[str] = field(default_factory=list[str])
    """Runs it could not ask about or write down, with the reason."""
    failed_total: int = 0
    """All of them, those not named included."""
    unanswered: int = 0
    """Those for which Temporal did not answer."""
    workers_answer: bool = True
    """Whether a query is worth its time-out: nobody has been silent yet."""

    def fail(self, run_id: str, failure: Exception, most: int) -> None:
        """Note it; a report names `most` of them."""
        self.failed_total += 1
        self.unanswered += isinstance(failure, RPCError) and failure.status in BUSY
        if len(self.failed) < most:
            self.failed.append(f"{run_id}: {_told(failure)}")

    def full(self, limit: int) -> bool:
        """Whether this sweep did its share.

        What fails by a fault of its own does not count: it is there again next time, the most
        overdue of all, and a thousand of them would keep every sweep from the others.
        """
        return len(self.swept) + self.unanswered >= limit

    def report(self, *, cut: bool = False) -> SweepReport:
        """What is told of it; `cut` when there may be more."""
        return SweepReport(
            looked=len(self.looked),
            live=self.live,
            waiting=self.waiting,
            swept=tuple(self.swept),
            stuck=tuple(self.stuck),
            failed=tuple(self.failed),
            failed_total=self.failed_total,
            cut=cut,
        )


def _told(failure: Exception) -> str:
    """A failure in a line; what is not a known kind says what it is."""
    text = clean_line(Redactor().text(str(failure)), 200)
    known = isinstance(failure, RPCError | StoreError | ConfigError)
    return text if known else f"{type(failure).__name__}: {text}"
