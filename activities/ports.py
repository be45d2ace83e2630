"""Activities of the ports: reserve and settle, open and close. No port = nothing to do."""

from collections.abc import Sequence
from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError

from executus import contracts
from executus.activities.calls import quietly
from executus.activities.host import Host
from executus.activities.records import Records
from executus.audit import AuditClose, AuditOpen, AuditRow, step_of
from executus.budget import BudgetCommit, BudgetDecision, BudgetReceipt
from executus.contracts import (
    AuditClosed,
    AuditCloseInput,
    AuditFlushInput,
    BudgetCheckInput,
    BudgetCommitInput,
    RunKey,
    StepsPage,
)
from executus.errors import ReservationMismatch
from executus.ports import Audit
from executus.resets import Descent


class PortActivities:
    """Budget and audit of one host."""

    def __init__(self, host: Host, records: Records) -> None:
        self._ports = host.ports
        self._records = records

    @activity.defn(name=contracts.BUDGET_CHECK)
    async def check(self, asked: BudgetCheckInput) -> BudgetDecision:
        """Reserve for a run."""
        if self._ports.budget is None:
            return BudgetDecision(admitted=True)
        check = asked.check
        key = RunKey(run_id=check.run_id, workflow_run_id=check.workflow_run_id)
        if (await self._records.descent(key)).resets:
            check = check.model_copy(update={"reset": True})
        try:
            return await self._ports.budget.check(check)
        except ReservationMismatch as error:
            raise ApplicationError(str(error), type=_name(error), non_retryable=True) from None

    @activity.defn(name=contracts.BUDGET_COMMIT)
    async def commit(self, asked: BudgetCommitInput) -> BudgetReceipt:
        """Settle a run."""
        if self._ports.budget is None:
            return BudgetReceipt()
        execution = {"execution_id": activity.info().workflow_run_id or ""}
        return await self._ports.budget.commit(asked.commit.model_copy(update=execution))

    @activity.defn(name=contracts.AUDIT_START)
    async def start(self, opening: AuditOpen) -> None:
        """Open a run's record."""
        if self._ports.audit is not None:
            await self._ports.audit.start(opening)

    @activity.defn(name=contracts.AUDIT_CLOSE)
    async def close(self, asked: AuditCloseInput) -> AuditClosed:
        """Write what the record lacks and close it."""
        audit = self._ports.audit
        if audit is None:
            return AuditClosed()
        descent = await self._fill(audit, asked.close.opening, asked.events, asked.row_keys)
        close = asked.close.model_copy(update={"execution": descent.name})
        if descent.resets:
            await quietly(self._settle_earlier(close), "budget commit")
        return AuditClosed(receipt=await audit.close(close))

    async def _settle_earlier(self, close: AuditClose) -> None:
        """Settle what is still held for a run that was reset to before it reserved.

        This execution ended before it did so again, so it has nothing of its own to settle; what
        was reserved, and spent, by the one before it stands open. What is settled stays as it is.
        """
        if self._ports.budget is None:
            return
        opening = close.opening
        seconds = max(0.0, (close.ended_at - opening.started_at).total_seconds())
        commit = BudgetCommit(run_id=opening.run_id, seconds=seconds, execution_id=close.execution)
        await self._ports.budget.commit(commit)

    @activity.defn(name=contracts.AUDIT_FLUSH)
    async def flush(self, asked: AuditFlushInput) -> None:
        """Write what the record lacks, while this execution can still tell."""
        if self._ports.audit is not None:
            await self._fill(self._ports.audit, asked.opening, asked.events, asked.row_keys)

    async def _fill(
        self, audit: Audit, opening: AuditOpen, events: Sequence[AuditRow], row_keys: int
    ) -> Descent:
        """Open the record if need be; write events, and the rows of steps that have none.

        A step has none when its own activity could not write it: a killed worker, an outage.
        Answers where this execution comes from: that names it in the record.
        """
        await audit.start(opening)
        run_id = opening.run_id
        descent = await self._records.descent(
            RunKey(run_id=run_id, workflow_run_id=opening.workflow_run_id)
        )
        have = await audit.keys(run_id)
        steps = {key.partition("@")[0] for key in have if step_of(key)}
        plain = not descent.resets and all(key.endswith("#1") for key in steps)
        start = 0
        # One row a step, all from first attempts: nothing can be missing. The usual case.
        while not (plain and len(steps) >= row_keys):
            page = await self._page(start)
            missing = [descent.keyed(row) for row in page.rows if descent.lacks(row, have)]
            if missing:
                await audit.record(run_id, missing)
            start += len(page.rows)
            if start >= page.total or not page.rows:
                break
        if events:
            await audit.record(run_id, [descent.keyed(event) for event in events])
        return descent

    @staticmethod
    async def _page(start: int) -> StepsPage:
        info = activity.info()
        handle = activity.client().get_workflow_handle(
            info.workflow_id or "", run_id=info.workflow_run_id
        )
        page: StepsPage = await handle.query(
            contracts.QUERY_STEPS,
            start,
            result_type=StepsPage,
            rpc_timeout=timedelta(seconds=15),
        )
        return page


def _name(error: Exception) -> str:
    return f"executus.{type(error).__name__}"
