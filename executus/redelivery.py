"""Send a dead letter again: once, whoever else tries at the same time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from executus.audit import AuditRow
from executus.delivery_rows import landed_row
from executus.errors import DeliveryError
from executus.letter import DeadLetter, DeliveryReceipt
from executus.ports import DeadLetters, Delivery
from executus.redact import Redactor
from executus.sanitize import clean_line

ATTEMPT_SECONDS = 45.0
CLAIM_SECONDS = 120.0
"""Longer than an attempt may take, so that nobody else begins one meanwhile."""


class Records(Protocol):
    """What redelivery needs of an audit."""

    async def record(self, run_id: str, rows: Sequence[AuditRow]) -> None:
        """Append rows."""
        ...


@dataclass(frozen=True, slots=True)
class Redelivered:
    """What came of one attempt."""

    letter: DeadLetter
    """The letter, as it was."""
    receipt: DeliveryReceipt | None = None
    """It landed."""
    error: str | None = None
    """It did not. Both None: somebody else has it, or it is delivered."""


class Redelivery:
    """Sends dead letters again, and writes receipts into the audit."""

    def __init__(
        self, delivery: Delivery, letters: DeadLetters, audit: Records | None = None
    ) -> None:
        self._delivery = delivery
        self._letters = letters
        self._audit = audit

    async def send(self, letter: DeadLetter) -> Redelivered:
        """One attempt, with the id of the first: a receiver that has seen it knows.

        The receipt is recorded before the letter is crossed out: should that fail, it is sent once
        more, and no delivery goes unrecorded.

        Raises:
            StoreError: it was delivered and could not be recorded; it is still listed.
        """
        claimed = await self._letters.claim(letter.id, CLAIM_SECONDS)
        if claimed is None or claimed.item is None:
            return Redelivered(letter)
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                receipt = await self._delivery.deliver(claimed.item)
        except Exception as error:  # noqa: BLE001 - a host's own delivery may raise anything
            code = error.status_code if isinstance(error, DeliveryError) else None
            text = clean_line(Redactor().text(str(error) or type(error).__name__), 500)
            await self._letters.failed(letter.id, text, code)
            return Redelivered(letter, error=text)
        known = {"id": letter.id, "target": letter.target, "attempts": claimed.attempts + 1}
        receipt = receipt.model_copy(update=known)
        if self._audit is not None:
            row = landed_row(f"{letter.id}/later", receipt.delivered_at, receipt)
            await self._audit.record(letter.run_id, [row])
        await self._letters.landed(letter.id, receipt.delivered_at)
        return Redelivered(letter, receipt)
