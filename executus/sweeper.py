"""The sweeper: what the workflow alone can never promise.

Terminate, server-side timeouts and the history limit end a run without running any of its cleanup
(reliability.md F1). So for every open record and every hold past its time the sweeper asks Temporal
what became of the run, closes the record with that truth (`closed_by=sweeper`) and settles the
hold. A run that goes on is never touched. Every step is idempotent, so two sweepers do no harm.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol, runtime_checkable

from pydantic import ValidationError
from temporalio import activity
from temporalio.client import Client, WorkflowHandle, WorkflowQueryFailedError
from temporalio.service import RPCError

from executus.audit import (
    AuditClose,
    AuditEntry,
    AuditOpen,
    AuditReceipt,
    AuditRow,
    AuditRun,
    in_execution,
)
from executus.budget import BudgetCommit, BudgetHold, BudgetReceipt
from executus.contracts import QUERY_STEPS, StepsPage
from executus.delivery_rows import landed_row
from executus.errors import ConfigError
from executus.letter import DeadLetter, DeliveryReceipt
from executus.ports import Ports
from executus.resets import Descent, descent_of, tell_resets
from executus.result import RunResult
from executus.status import Reason, Status
from executus.sweeper_delivery import SweptDelivery
from executus.sweeper_fate import Fate, fate_of
from executus.sweeper_tally import Tally
from executus.sweeper_workflow import SWEEP, SweepInput, SweepReport, SweptRun
from executus.usage import Usage

QUERY_TIMEOUT = timedelta(seconds=5)
FOREVER = datetime.max.replace(tzinfo=UTC)


@runtime_checkable
class SweptAudit(Protocol):
    """What the sweeper needs of an audit; `SqlAudit` and `MemoryAudit` have it."""

    async def open_past(self, at: datetime, *, limit: int = ...) -> list[AuditRun]:
        """Open runs whose deadline is not after `at`."""
        ...

    async def run(self, run_id: str) -> AuditRun | None:
        """One run's record."""
        ...

    async def keys(self, run_id: str) -> frozenset[str]:
        """Keys of its rows."""
        ...

    async def record(self, run_id: str, rows: Sequence[AuditRow]) -> None:
        """Append rows."""
        ...

    async def rows(self, run_id: str) -> list[AuditEntry]:
        """Every entry of its chain."""
        ...

    async def close(self, closing: AuditClose) -> AuditReceipt:
        """Close once."""
        ...


@runtime_checkable
class SweptBudget(Protocol):
    """What the sweeper needs of a budget; `SqlBudget` and `MemoryBudget` have it."""

    async def holds_past(self, at: datetime, *, limit: int = ...) -> list[BudgetHold]:
        """Reservations whose time is not after `at`."""
        ...

    async def hold(self, run_id: str) -> BudgetHold | None:
        """The run's reservation while it is not settled."""
        ...

    async def commit(self, commit: BudgetCommit) -> BudgetReceipt:
        """Settle once."""
        ...


class Due(NamedTuple):
    """A run to ask about."""

    run_id: str
    workflow_run_id: str
    due_at: datetime


class Sweeper:
    """Asks Temporal what became of runs, and writes it down."""

    def __init__(
        self,
        client: Client,
        audit: SweptAudit | None = None,
        budget: SweptBudget | None = None,
        *,
        delivery: SweptDelivery | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """`client` needs the plugin's data converter, to read results and requests."""
        self._client = client
        self._audit = audit
        self._budget = budget
        self._delivery = delivery
        self._clock = clock or (lambda: datetime.now(UTC))

    async def sweep(self, asked: SweepInput | None = None) -> SweepReport:
        """One sweep. What fails for one run is reported and does not stop the others."""
        asked = asked or SweepInput()
        tally = Tally()
        while due := await self._due(asked, tally.looked):
            for run in due:
                tally.looked.add(run.run_id)
                if activity.in_activity():
                    activity.heartbeat(run.run_id)
                try:
                    await self._look(run, asked, tally)
                except Exception as failure:  # noqa: BLE001 - a host's codec or store may raise anything
                    tally.fail(run.run_id, failure, asked.limit)
                if tally.full(asked.limit):
                    return tally.report(cut=True)
        return tally.report()

    async def _look(self, run: Due, asked: SweepInput, tally: Tally) -> None:
        fate = await fate_of(self._client, run.run_id, run.workflow_run_id)
        if fate is None and not self._given_up(run, asked):
            tally.waiting += 1
        elif fate is not None and fate.result is None:
            tally.live += 1
            tally.stuck += [run.run_id] if fate.attempts >= asked.stuck_attempts else []
        elif fate is not None and self._fresh(fate, asked):
            tally.waiting += 1
        else:
            tally.swept += await self._write(run, fate, tally)

    async def _due(self, asked: SweepInput, looked: Collection[str]) -> list[Due]:
        """Open records and holds past their time, each run once, the most overdue first.

        Those looked at already are left out: they were swept, or stand in front of the others.
        """
        limit = asked.limit + len(looked)
        at = FOREVER if asked.everything else self._clock() - timedelta(seconds=asked.grace)
        found: dict[str, Due] = {}
        if self._budget is not None:
            for hold in await self._budget.holds_past(at, limit=limit):
                found[hold.run_id] = Due(hold.run_id, hold.workflow_run_id, hold.expires_at)
        if self._audit is not None:
            for run in await self._audit.open_past(at, limit=limit):
                due_at = run.deadline_at or run.started_at
                before = found.get(run.run_id)
                known = run.workflow_run_id or (before.workflow_run_id if before else "")
                found[run.run_id] = Due(run.run_id, known, due_at)
        fresh = [run for run in found.values() if run.run_id not in looked]
        return sorted(fresh, key=lambda run: (run.due_at, run.run_id))

    def _fresh(self, fate: Fate, asked: SweepInput) -> bool:
        return fate.ended_at > self._clock() - timedelta(seconds=asked.grace)

    def _given_up(self, run: Due, asked: SweepInput) -> bool:
        # Not at once: asked in a wrong namespace, Temporal knows none of the runs.
        return run.due_at <= self._clock() - timedelta(seconds=asked.lost_after)

    async def _write(self, run: Due, fate: Fate | None, tally: Tally) -> list[SweptRun]:
        result = _unknown(run) if fate is None or fate.result is None else fate.result
        kept = await self._letter(run, fate, result)
        letter = kept if isinstance(kept, DeadLetter) else None
        if isinstance(kept, DeliveryReceipt):
            result = result.model_copy(update={"delivery": kept})
        descent = await self._descent(run, fate)
        settled = await self._settle(run, fate, descent)
        closed = await self._close(run, fate, result, tally, descent)
        delivered = letter is not None and await self._send(letter)
        if not settled and not closed and not delivered:
            return []  # somebody else was faster
        return [
            SweptRun(
                run_id=run.run_id,
                status=result.status,
                reason=result.reason,
                closed=closed,
                settled=settled,
                delivered=delivered,
                kept=letter is not None and not delivered,
            )
        ]

    async def _letter(
        self, run: Due, fate: Fate | None, result: RunResult
    ) -> DeadLetter | DeliveryReceipt | None:
        """What the run would have delivered, kept before anything else is written down.

        Or the receipt, when it did deliver and its result does not say so.
        """
        if self._delivery is None or fate is None:
            return None
        if self._audit is not None:
            result = _counted(result, await self._audit.rows(run.run_id))
        return await self._delivery.keep(self._client, fate.handle, result, run.workflow_run_id)

    async def _send(self, letter: DeadLetter) -> bool:
        return self._delivery is not None and await self._delivery.send(letter)

    async def _descent(self, run: Due, fate: Fate | None) -> Descent:
        """Where its newest execution comes from; without Temporal, as far as the record knows."""
        first = run.workflow_run_id
        if fate is not None and first:
            newest = fate.handle.run_id or first
            return await descent_of(self._client, run.run_id, newest, first)
        entries = [] if self._audit is None else await self._audit.rows(run.run_id)
        resets = [entry for entry in entries if entry.entry == "reset"]
        last = max(resets, key=lambda entry: entry.at, default=None)
        return Descent(first, (first if last is None else last.execution,))

    async def _settle(self, run: Due, fate: Fate | None, descent: Descent) -> bool:
        """Settle the hold; a run of which nothing is known took all the time it held."""
        hold = None if self._budget is None else await self._budget.hold(run.run_id)
        if self._budget is None or hold is None:
            return False
        commit = BudgetCommit(
            run_id=run.run_id,
            seconds=hold.seconds if fate is None else fate.seconds,
            since_reset=fate.since_reset if fate and descent.resets else None,
            execution_id=descent.executions[-1],
        )
        await self._budget.commit(commit)
        return True

    async def _close(
        self, run: Due, fate: Fate | None, result: RunResult, tally: Tally, descent: Descent
    ) -> bool:
        if self._audit is None:
            return False
        await tell_resets(self._audit, run.run_id, descent)
        record = await self._audit.run(run.run_id)
        if record is not None and record.status is not None:
            return False
        if fate is not None and tally.workers_answer:
            tally.workers_answer = await self._fill(self._audit, fate.handle, run.run_id, descent)
        if result.delivery is not None:
            receipt = result.delivery
            key = in_execution(receipt.id, descent.name)
            row = landed_row(key, receipt.delivered_at, receipt)
            await self._audit.record(run.run_id, [row])
        counted = _counted(result, await self._audit.rows(run.run_id))
        closing = _closing(run, record, counted)
        await self._audit.close(closing.model_copy(update={"execution": descent.name}))
        return True

    async def _fill(
        self, audit: SweptAudit, handle: WorkflowHandle[Any, Any], run_id: str, descent: Descent
    ) -> bool:
        """Add the rows that an outage kept away; False when no worker answers."""
        have, start = await audit.keys(run_id), 0
        while True:
            try:
                page = await handle.query(
                    QUERY_STEPS, start, result_type=StepsPage, rpc_timeout=QUERY_TIMEOUT
                )
            except WorkflowQueryFailedError:
                return True
            except (RPCError, ValidationError):
                return False
            missing = [descent.keyed(row) for row in page.rows if descent.lacks(row, have)]
            await audit.record(run_id, missing)
            start = page.start + len(page.rows)
            if not page.rows or start >= page.total:
                return True


class SweepActivities:
    """The sweep as an activity, for a worker that has the stores."""

    def __init__(self, ports: Ports) -> None:
        """A port that cannot be swept (a host's own, without these reads) is left out."""
        audit: object = ports.audit
        budget: object = ports.budget
        self._audit = audit if isinstance(audit, SweptAudit) else None
        self._budget = budget if isinstance(budget, SweptBudget) else None
        self._delivery = (
            None
            if ports.delivery is None or ports.letters is None
            else SweptDelivery(ports.delivery, ports.letters, ports.audit)
        )

    def sweeper(self, client: Client) -> Sweeper:
        """One over these ports, which keeps to the host's policy and redactor.

        Raises:
            ConfigError: there is nothing to sweep.
        """
        if self._audit is None and self._budget is None:
            raise ConfigError("the host's Ports have no `audit` and no `budget` to sweep")
        return Sweeper(client, self._audit, self._budget, delivery=self._delivery)

    @activity.defn(name=SWEEP)
    async def sweep(self, asked: SweepInput) -> SweepReport:
        """One sweep, with the worker's own client."""
        sweeper = Sweeper(activity.client(), self._audit, self._budget, delivery=self._delivery)
        return await sweeper.sweep(asked)


def _unknown(run: Due) -> RunResult:
    return RunResult(
        run_id=run.run_id,
        status=Status.ERROR,
        reason=Reason.TERMINATED,
        error="Temporal does not know this run (any more): what became of it cannot be told",
        started_at=run.due_at,
        ended_at=run.due_at,
    )


def _counted(result: RunResult, entries: Sequence[AuditEntry]) -> RunResult:
    """A result that no run wrote, with what the recorded rows add up to."""
    kinds = {"model", "tool", "compact", "critic"}
    rows = [entry for entry in entries if entry.kind in kinds and entry.superseded_at is None]
    if result.steps_total or not rows:
        return result
    usage, cost = Usage(), 0
    for row in rows:
        usage += Usage.model_validate(row.body["usage"] or {})
        paid = row.body["cost_micro_usd"]
        cost += paid if isinstance(paid, int) else 0
    return result.model_copy(
        update={
            "steps_total": len(rows),
            "iterations": sum(row.kind == "model" for row in rows),
            "usage": usage,
            "cost_micro_usd": cost,
        }
    )


def _closing(run: Due, record: AuditRun | None, result: RunResult) -> AuditClose:
    """The close; its opening is written only when the record has none."""
    opening = AuditOpen(
        run_id=run.run_id,
        workflow_run_id=run.workflow_run_id,
        parent_run_id=None if record is None else record.parent_run_id,
        agent_id=(record and record.agent_id) or "unknown",
        agent_name=(record and record.agent_name) or "unknown",
        caller_id=(record and record.caller_id) or "unknown",
        started_at=result.started_at if record is None else record.started_at,
    )
    return AuditClose(
        opening=opening,
        status=result.status,
        reason=result.reason,
        output=result.output,
        error=result.error,
        iterations=result.iterations,
        steps=result.steps_total,
        usage=result.usage,
        cost_micro_usd=result.cost_micro_usd,
        ended_at=result.ended_at,
        closed_by="sweeper",
    )
