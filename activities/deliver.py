"""`executus.deliver`: one attempt to deliver an outcome; Temporal makes the others."""

import contextlib
import time
from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from executus.activities.calls import quietly
from executus.activities.heartbeat import beating
from executus.activities.host import Host
from executus.activities.records import Records
from executus.audit import execution_of
from executus.contracts import RunKey
from executus.delivered import tried
from executus.delivery_contracts import (
    DELIVER,
    DELIVER_KEEP,
    DELIVERY_ERROR,
    Delivered,
    DeliverInput,
    DeliveryTrouble,
    KeepInput,
    Kept,
)
from executus.errors import DeliveryError
from executus.letter import DeadLetter, DeliveryItem, DeliveryReceipt
from executus.ports import Delivery
from executus.sanitize import clean_line

MAX_ERROR = 500
"""Characters of an error."""


class DeliverActivities:
    """Delivery and dead letters of one host."""

    def __init__(self, host: Host, records: Records) -> None:
        self._host = host
        self._records = records

    @activity.defn(name=DELIVER)
    async def deliver(self, asked: DeliverInput) -> Delivered:
        """Deliver once.

        Raises:
            ApplicationError: it did not land; retryable or not, with the receiver's own delay.
        """
        info = activity.info()
        waited = info.current_attempt_scheduled_time - info.scheduled_time
        until = time.monotonic() + asked.seconds - waited.total_seconds()
        port = self._host.ports.delivery
        if port is None:
            return Delivered()
        item = asked.item
        async with beating():
            try:
                before = await self._before(asked)
                if before is not None:
                    return Delivered(receipt=before)
                receipt = await port.deliver(item)
                await quietly(self._cross_out(asked, receipt), "dead letter")
            except Exception as error:  # noqa: BLE001 - a host's own delivery may raise anything
                failure = self._failure(port, asked, error, until - time.monotonic())
            else:
                # What stands in the record is ours to say, whatever a host's delivery answers.
                known = {"id": item.id, "target": item.target.shown, "attempts": info.attempt}
                return Delivered(receipt=receipt.model_copy(update=known))
        raise failure

    async def _before(self, asked: DeliverInput) -> DeliveryReceipt | None:
        """The receipt of the same outcome, if the run delivered it before it was reset."""
        first, item = asked.workflow_run_id, asked.item
        if not first:
            return None
        descent = await self._records.descent(RunKey(run_id=item.run_id, workflow_run_id=first))
        executions = {reset.execution for reset in descent.resets[:-1]} | {first}
        executions |= {execution for reset in descent.resets for execution in reset.line}
        if self._host.ports.audit is not None:  # it knows other branches, too
            keys = await self._host.ports.audit.keys(item.run_id)
            executions |= {execution_of(key) for key in keys if key.startswith(item.id)} - {""}
        for execution in sorted(executions - {descent.executions[-1]}):
            handle = activity.client().get_workflow_handle(item.run_id, run_id=execution)
            with contextlib.suppress(RPCError):  # past the retention
                receipt = (await tried(activity.client(), handle, item.id)).receipt
                if receipt is not None:
                    return receipt
        letter = await self._letter(item)
        if letter is None or letter.delivered_at is None:
            return None
        return DeliveryReceipt(
            id=item.id,
            target=letter.target,
            delivered_at=letter.delivered_at,
            attempts=letter.attempts + 1,
        )

    async def _letter(self, item: DeliveryItem) -> DeadLetter | None:
        letters = self._host.ports.letters
        kept = [] if letters is None else await letters.letters(item.run_id, delivered=True)
        return next((letter for letter in kept if letter.id == item.id), None)

    async def _cross_out(self, asked: DeliverInput, receipt: DeliveryReceipt) -> None:
        """What an earlier execution left as a dead letter has landed now."""
        letters = self._host.ports.letters
        if asked.workflow_run_id and letters is not None:
            await letters.landed(asked.item.id, receipt.delivered_at)

    @activity.defn(name=DELIVER_KEEP)
    async def keep(self, asked: KeepInput) -> Kept:
        """Keep what did not land."""
        letters = self._host.ports.letters
        if letters is None:
            return Kept(kept=False)
        await letters.keep(asked.letter)
        return Kept(kept=True)

    def _failure(
        self, port: Delivery, asked: DeliverInput, error: Exception, left: float
    ) -> ApplicationError:
        ours = isinstance(error, DeliveryError)
        said = str(error) if ours else f"{type(error).__name__}: {error}"
        text = clean_line(self._host.redactor.text(said[: MAX_ERROR * 4]), MAX_ERROR)
        final, delay, code = False, None, None
        if isinstance(error, DeliveryError):
            final, delay, code = error.permanent, error.retry_after, error.status_code
        if not final and delay is not None and delay >= left:
            text = f"{text}; it asks to wait {delay:.0f} s and {max(0.0, left):.0f} s are left"
            final = True
        trouble = DeliveryTrouble(
            error=text,
            attempts=activity.info().attempt,
            status_code=code,
            refused=final and port.problem(asked.item.target) is not None,
        )
        return ApplicationError(
            text,
            trouble,
            type=DELIVERY_ERROR,
            non_retryable=final,
            next_retry_delay=timedelta(seconds=delay) if delay and not final else None,
        )
