"""Stored audit columns as the plain data that reads answer with."""

import json

from executus.audit import AuditEntry, AuditRun
from executus.stores.canonical import moment
from executus.stores.chain import Expected, Link


def run_of(record: Expected) -> AuditRun:
    """A run's row as an `AuditRun`."""
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


def entry_of(link: Link, closed_entries: int | None) -> AuditEntry:
    """A stored entry as an `AuditEntry`; `closed_entries` is the chain's length at the close."""
    return AuditEntry.model_validate(
        {
            **link._asdict(),
            "at": moment(link.at),
            "body": json.loads(link.body),
            "late": closed_entries is not None and link.seq >= closed_entries,
        }
    )
