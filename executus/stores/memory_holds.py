"""Reservations and paid calls, as the budget in memory keeps them."""

from dataclasses import dataclass, field

from executus.budget import BudgetHold
from executus.stores.canonical import moment
from executus.stores.ledger import ZERO, Amounts

AttemptKey = tuple[str, str, str, int]


@dataclass(slots=True)
class Attempt:
    """A paid call."""

    params: str
    estimate: Amounts
    state: str = "started"
    actual: Amounts = ZERO

    @property
    def charge(self) -> Amounts:
        """What it counts."""
        return self.actual if self.state == "metered" else self.estimate


@dataclass(slots=True)
class Hold:
    """A run's reservation."""

    run_id: str
    workflow_run_id: str
    params: str
    parent: str | None
    root: str
    scopes: tuple[str, ...]
    reserved_at: int
    hour: int
    expires_at: int
    share: Amounts
    """What is held; once settled, what was spent."""
    settled: bool = False
    child_ms: int = 0
    lost: int = 0
    before_ms: int | None = None
    n_settle: int = 0
    attempts: dict[AttemptKey, Attempt] = field(default_factory=dict[AttemptKey, Attempt])

    @property
    def need(self) -> Amounts:
        """What its attempts may cost so far."""
        total = ZERO
        for attempt in self.attempts.values():
            total = total.plus(attempt.charge)
        return total


def public(hold: Hold) -> BudgetHold:
    """The hold, as it is told."""
    return BudgetHold(
        run_id=hold.run_id,
        workflow_run_id=hold.workflow_run_id,
        reserved_at=moment(hold.reserved_at),
        expires_at=moment(hold.expires_at),
        seconds=hold.share.ms / 1000,
        tokens=hold.share.tokens,
        micro_usd=hold.share.micro_usd,
    )
