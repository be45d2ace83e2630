"""`executus.deliver`: one attempt to deliver an outcome; Temporal makes the others."""

import time
from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError

from executus.activities.heartbeat import beating
from executus.activities.host import Host
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
from executus.ports import Delivery
from executus.sanitize import clean_line

MAX_ERROR = 500
"""Characters of an error."""


class DeliverActivities:
    """Delivery and dead letters of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host

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
                receipt = await port.deliver(item)
            except Exception as error:  # noqa: BLE001 - a host's own delivery may raise anything
                failure = self._failure(port, asked, error, until - time.monotonic())
            else:
                # What stands in the record is ours to say, whatever a host's delivery answers.
                known = {"id": item.id, "target": item.target.shown, "attempts": info.attempt}
                return Delivered(receipt=receipt.model_copy(update=known))
        raise failure

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
