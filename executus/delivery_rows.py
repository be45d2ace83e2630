"""Rows of deliveries in the audit, by whomever they were made: the run, the sweeper, a command."""

from datetime import datetime

from executus.audit import AuditRow
from executus.letter import DeadLetter, DeliveryReceipt
from executus.sanitize import clean_line

MAX_SUMMARY = 200


def landed_row(key: str, at: datetime, receipt: DeliveryReceipt) -> AuditRow:
    """A receipt."""
    code = "" if receipt.status_code is None else f", status {receipt.status_code}"
    return AuditRow(
        key=key,
        kind="event",
        name="delivered",
        status="",
        at=at,
        summary=clean_line(f"{receipt.target}: attempt {receipt.attempts}{code}", MAX_SUMMARY),
        content=receipt.model_dump(mode="json"),
    )


def lost_row(letter: DeadLetter, *, kept: bool) -> AuditRow:
    """A delivery that was given up."""
    return AuditRow(
        key=letter.id,
        kind="event",
        name="delivery_failed",
        status="",
        at=letter.failed_at,
        summary=clean_line(f"{letter.target}: {letter.error}", MAX_SUMMARY),
        content={
            "id": letter.id,
            "target": letter.target,
            "attempts": letter.attempts,
            "status_code": letter.status_code,
            "error": letter.error,
            "kept": kept,
        },
    )
