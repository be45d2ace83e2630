"""Stored audit columns as the plain data that reads answer with."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from executus.audit import AuditEntry, AuditPurged, AuditRun
from executus.errors import StoreError
from executus.stores.canonical import EPOCH, moment
from executus.stores.chain import Expected
from executus.stores.links import Link
from executus.stores.standing import superseded

UNREADABLE = (ValueError, TypeError, OverflowError, KeyError)
"""What reading raises where somebody wrote past executus: SQLite takes a text for a number."""


def run_of(record: Expected) -> AuditRun:
    """A run's row as an `AuditRun`; raises StoreError when it does not read."""
    try:
        return _run_of(record)
    except UNREADABLE:
        raise _damaged(f"the record of run `{record.run_id}`", record.run_id) from None


def listed(record: Expected) -> AuditRun:
    """The same for a list; one that does not read is there by its name, so that it hides no other.

    Whoever goes on to read it alone is told.
    """
    try:
        return _run_of(record)
    except UNREADABLE:
        texts = ("workflow_run_id", "agent_id", "caller_id", "tenant_id", "channel_id", "head")
        rest = [name for name in AuditRun.model_fields if name not in texts]
        return AuditRun.model_validate(
            {
                **dict.fromkeys(rest),
                **dict.fromkeys(texts, ""),
                "run_id": str(record.run_id),
                "agent_name": "(damaged: verify it)",
                "started_at": EPOCH,
                "n_close": 0,
                "entries": 0,
            }
        )


def _damaged(what: str, run_id: str) -> StoreError:
    return StoreError(f"{what} is damaged: executus audit verify {run_id}")


def _run_of(record: Expected) -> AuditRun:
    columns = dict(record.columns)
    del columns["due_at"]
    for name in ("started_at", "deadline_at", "ended_at"):
        at = columns[name]
        columns[name] = moment(at).isoformat() if isinstance(at, int) else None
    return AuditRun.model_validate(
        {
            "run_id": record.run_id,
            "entries": record.entries,
            "head": record.head,
            "n_close": record.n_close,
            "closed_head": record.closed_head,
            "closed_entries": record.closed_entries,
            **columns,
        }
    )


def entries_of(links: Sequence[Link]) -> list[AuditEntry]:
    """A stored chain as it is read.

    Raises:
        StoreError: it does not read.
    """
    try:
        void = superseded(links)
    except UNREADABLE:
        run_id = links[0].run_id
        raise _damaged(f"a reset in the record of run `{run_id}`", run_id) from None
    found: list[AuditEntry] = []
    closed = False
    for link in links:
        closed = closed and link.entry != "reset"
        found.append(_entry_of(link, late=closed, superseded=void.get(link.seq)))
        closed = closed or (link.entry == "close" and not _came_after(link, void))
    return found


def _came_after(close: Link, void: Mapping[int, int]) -> bool:
    """Whether a close was superseded before it came: it closed nothing."""
    return close.seq in void and void[close.seq] <= close.at


def _entry_of(link: Link, *, late: bool, superseded: int | None) -> AuditEntry:
    try:
        return AuditEntry.model_validate(
            {
                **link._asdict(),
                "at": moment(link.at),
                "body": json.loads(link.body),
                "late": late,
                "superseded_at": None if superseded is None else moment(superseded),
            }
        )
    except UNREADABLE:
        raise _damaged(f"entry {link.seq} of run `{link.run_id}`", link.run_id) from None


def purged_of(row: Any) -> AuditPurged:  # noqa: ANN401 - a row of `audit_purges`
    """What a purge left of a run."""
    return AuditPurged(
        run_id=row.run_id,
        purged_at=moment(row.purged_at),
        ended_at=moment(row.ended_at),
        head=row.closed_head,
        entries=row.entries,
    )
