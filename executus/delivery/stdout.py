"""Stdout: the event as one line of JSON, for pipes and for looking."""

import asyncio
import sys
from datetime import UTC, datetime

from executus.delivery_target import DeliveryTarget
from executus.errors import DeliveryError
from executus.letter import DeliveryItem, DeliveryReceipt


class Stdout:
    """Delivers to the standard output of the worker's process."""

    def problem(self, target: DeliveryTarget) -> str | None:
        """Why nothing can be delivered there, if so."""
        return "stdout takes no address: leave it out" if target.address else None

    async def deliver(self, item: DeliveryItem) -> DeliveryReceipt:
        """Write one line; in a thread, because a pipe may be full.

        Raises:
            DeliveryError: nobody reads any more.
        """
        try:
            await asyncio.to_thread(_write, item.body.decode())
        except (OSError, ValueError) as error:
            raise DeliveryError(f"stdout: {error}") from None
        return DeliveryReceipt(id=item.id, target=item.target.shown, delivered_at=datetime.now(UTC))


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
