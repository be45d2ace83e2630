"""Deliver the outcome: after it is fixed and settled, before the record is closed.

In this order the record holds the receipt. Delivery has a time budget of its own, so the close
comes however the receiver behaves; what does not land is kept as a dead letter, with a warning.
"""

from dataclasses import dataclass

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from executus.audit import AuditRow
from executus.delivery_contracts import (
    DELIVER,
    DELIVERY_ERROR,
    Delivered,
    DeliverInput,
    DeliveryTrouble,
)
from executus.delivery_rows import landed_row, lost_row
from executus.envelope import delivery_item
from executus.letter import DeadLetter, DeliveryItem, DeliveryReceipt
from executus.result import RunResult
from executus.status import Reason
from executus.workflows.cleanup import Cleanup
from executus.workflows.perform import Options, perform
from executus.workflows.run import Run

ATTEMPT_SECONDS = 60.0
"""Seconds one attempt may take; the shipped deliveries take at most 15."""
LONGEST_PAUSE = 15.0


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What came of a delivery."""

    receipt: DeliveryReceipt | None = None
    """None: it did not land."""
    rows: tuple[AuditRow, ...] = ()
    """For the record."""


async def deliver(run: Run, result: RunResult, cleanup: Cleanup) -> Dispatch:
    """Deliver, if the request asks for it and something can be; never raises for a failure."""
    target = run.target
    if target is None or result.reason is Reason.DELIVERY_REFUSED:
        return Dispatch()
    item = delivery_item(
        target,
        result,
        run.invocation,
        agent=run.opening().agent_name,
        workflow_run_id=run.key.workflow_run_id,
    )
    begun = workflow.now()
    landed = await _send(run, item)
    cleanup.allow((workflow.now() - begun).total_seconds())
    if isinstance(landed, DeliveryReceipt):
        return Dispatch(landed, (landed_row(item.id, workflow.now(), landed),))
    return await _give_up(run, item, landed, cleanup)


async def _send(run: Run, item: DeliveryItem) -> DeliveryReceipt | DeliveryTrouble:
    """All attempts: the receipt, or why there is none."""
    seconds = run.bounds.delivery_seconds
    options = Options(
        whole=seconds,
        attempt=ATTEMPT_SECONDS,
        longest_pause=LONGEST_PAUSE,
        heartbeat=run.bounds.heartbeat_seconds,
    )
    info = workflow.info()  # a reset to the run's first task shows in nothing but these ids
    anew = run.clock.resumed_at is not None or info.run_id != info.original_execution_run_id
    first = run.key.workflow_run_id if anew else ""
    asked = DeliverInput(item=item, seconds=seconds, workflow_run_id=first)
    try:
        done = await perform(DELIVER, asked, Delivered, options, item.target.shown)
    except ActivityError as error:
        cause = error.cause
        if isinstance(cause, ApplicationError) and cause.type == DELIVERY_ERROR and cause.details:
            return DeliveryTrouble.model_validate(cause.details[0])
        return DeliveryTrouble(error=f"not delivered within {seconds:g} s: {cause or error}"[:500])
    return done.receipt or DeliveryTrouble(error="this host delivers nothing", refused=True)


async def _give_up(
    run: Run, item: DeliveryItem, trouble: DeliveryTrouble, cleanup: Cleanup
) -> Dispatch:
    """Keep it for later, and say so."""
    letter = DeadLetter(
        id=item.id,
        run_id=item.run_id,
        target=item.target.shown,
        status=item.event.data.status,
        attempts=trouble.attempts,
        error=trouble.error,
        status_code=trouble.status_code,
        failed_at=workflow.now(),
        item=item,
    )
    # A target that nobody ever accepted, of a request that nobody could read, is not worth a place.
    hopeless = trouble.refused and run.plan is None
    keeps = run.wired is None or "letters" in run.wired
    kept = not hopeless and keeps and await cleanup.keep(letter)
    again = f"kept as a dead letter: `executus deliveries retry {letter.run_id}`"
    fate = again if kept else "not kept"
    cleanup.warnings.append(
        f"delivery to {letter.target} did not land ({trouble.error}); {fate}"[:700]
    )
    return Dispatch(rows=(lost_row(letter, kept=kept),))
