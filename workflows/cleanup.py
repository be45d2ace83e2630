"""The cleanup of a run: settle the budget, close the audit. No cancel can enter it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from executus import contracts
from executus.audit import AuditClose, AuditReceipt, AuditRow
from executus.budget import BudgetCommit, BudgetReceipt
from executus.contracts import AuditClosed, AuditCloseInput, BudgetCommitInput
from executus.delivery_contracts import DELIVER_KEEP, KeepInput, Kept
from executus.letter import DeadLetter
from executus.workflows.clock import Clock
from executus.workflows.perform import Options, perform

ATTEMPT_SECONDS = 20.0
"""Seconds one attempt may take."""


class Cleanup:
    """Settles and closes within one time budget; what did not land is a warning, not a failure."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        """Give the whole cleanup `seconds`."""
        self._clock = clock
        # Without what `clock` leaves out from now on: a run may be reset into its cleanup, too.
        self._until: datetime = workflow.now() + timedelta(seconds=seconds) - clock.idle
        self.warnings: list[str] = []

    async def commit(
        self, run_id: str, seconds: float, since_reset: float | None = None
    ) -> BudgetReceipt | None:
        """Settle the reservation."""
        took = max(0.0, seconds)
        again = None if since_reset is None else max(0.0, since_reset)
        commit = BudgetCommit(run_id=run_id, seconds=took, since_reset=again)
        asked = BudgetCommitInput(commit=commit)
        summary = f"settle {seconds:.1f} s"
        try:
            return await perform(
                contracts.BUDGET_COMMIT, asked, BudgetReceipt, self._options(), summary
            )
        except ActivityError as error:
            self._warn("budget commit did not land; the sweeper settles it", error)
            return None

    async def close(
        self, close: AuditClose, events: Sequence[AuditRow], row_keys: int
    ) -> AuditReceipt | None:
        """Close the record; None when it did not land or no audit is wired."""
        asked = AuditCloseInput(close=close, events=tuple(events), row_keys=row_keys)
        summary = f"{close.status.value}: {close.reason.value}"
        try:
            closed = await perform(
                contracts.AUDIT_CLOSE, asked, AuditClosed, self._options(), summary
            )
        except ActivityError as error:
            self._warn("audit close did not land; the sweeper closes it", error)
            return None
        return closed.receipt

    def allow(self, seconds: float) -> None:
        """Time that something else took is not the cleanup's."""
        self._until += timedelta(seconds=seconds)

    async def keep(self, letter: DeadLetter) -> bool:
        """Keep what could not be delivered; False when the host keeps none or it did not land."""
        asked = KeepInput(letter=letter)
        try:
            kept = await perform(DELIVER_KEEP, asked, Kept, self._options(), letter.target)
        except ActivityError as error:
            self._warn("the dead letter did not land", error)
            return False
        return kept.kept

    def _warn(self, text: str, error: ActivityError) -> None:
        self.warnings.append(f"{text}: {error.cause or error}"[:500])

    def _options(self) -> Options:
        """Without a limit on attempts: an outage is waited out, within the time budget."""
        left = max(1.0, (self._until + self._clock.idle - workflow.now()).total_seconds())
        return Options(whole=left, attempt=ATTEMPT_SECONDS, longest_pause=10.0)
