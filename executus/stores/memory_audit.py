"""The audit in memory: the same chain and answers as the SQL store, for tests and demos."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from executus.audit import (
    AuditClose,
    AuditEntry,
    AuditOpen,
    AuditProof,
    AuditReceipt,
    AuditRow,
    AuditRun,
)
from executus.stores.canonical import ident, micros
from executus.stores.chain import (
    Expected,
    draft_close,
    draft_open,
    draft_row,
    extend,
    index_columns,
    prove,
)
from executus.stores.links import Draft, Link
from executus.stores.records import entries_of, run_of
from executus.stores.redaction import Policy, Redaction, TextRedactor
from executus.stores.standing import made_close, standing_close


@dataclass(slots=True)
class _Record:
    run_id: str
    links: list[Link] = field(default_factory=list[Link])
    keys: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    def append(self, drafts: Iterable[Draft]) -> None:
        """Add what is new."""
        new: list[Draft] = []
        for draft in drafts:
            if (draft.entry, draft.key) not in self.keys:
                self.keys.add((draft.entry, draft.key))
                new.append(draft)
        self.links += extend(self.run_id, len(self.links), self.head, new)

    @property
    def head(self) -> str:
        return self.links[-1].hash if self.links else ""

    def expected(self) -> Expected:
        columns: dict[str, Any] = index_columns(self.links)
        closed = {name: columns.pop(name) for name in ("n_close", "closed_head", "closed_entries")}
        return Expected(
            run_id=self.run_id, entries=len(self.links), head=self.head, columns=columns, **closed
        )


class MemoryAudit:
    """An `Audit` that lives as long as this object."""

    def __init__(self, redactor: TextRedactor | None = None, policy: Policy | None = None) -> None:
        self._redaction = Redaction(redactor, policy)
        self._records: dict[str, _Record] = {}

    async def start(self, opening: AuditOpen) -> None:
        """Open the record; nothing changes when it has an opening already."""
        self._record(opening.run_id).append([draft_open(self._redaction, opening)])

    async def record(self, run_id: str, rows: Sequence[AuditRow]) -> None:
        """Append the rows whose keys are new."""
        if rows:
            self._record(run_id).append([draft_row(self._redaction, row) for row in rows])

    async def keys(self, run_id: str) -> frozenset[str]:
        """Keys of the rows that are there."""
        record = self._records.get(ident(run_id))
        keys = () if record is None else record.keys
        return frozenset(key for entry, key in keys if entry == "row")

    async def close(self, closing: AuditClose) -> AuditReceipt:
        """Close once an execution; again answers the first receipt. See `SqlAudit.close`."""
        record = self._record(closing.opening.run_id)
        close = draft_close(self._redaction, closing)
        made = made_close(record.links, close)
        if made is None:
            record.append([draft_open(self._redaction, closing.opening), close])
            made = record.links[-1]
        return AuditReceipt(head=made.hash, rows=made.seq + 1)

    async def run(self, run_id: str) -> AuditRun | None:
        """One run's record without its rows."""
        record = self._records.get(ident(run_id))
        return None if record is None else run_of(record.expected())

    async def runs(
        self,
        *,
        caller_id: str | None = None,
        agent_id: str | None = None,
        top_level: bool = False,
        open_only: bool = False,
        limit: int = 100,
    ) -> list[AuditRun]:
        """Runs that match, the newest first."""

        def matches(run: AuditRun) -> bool:
            return (
                (caller_id is None or run.caller_id == ident(caller_id))
                and (agent_id is None or run.agent_id == ident(agent_id))
                and not (top_level and run.parent_run_id is not None)
                and not (open_only and run.status is not None)
            )

        return self._select(matches, newest_first=True)[:limit]

    async def rows(self, run_id: str) -> list[AuditEntry]:
        """Every entry of the run's chain, in order."""
        record = self._records.get(ident(run_id))
        return [] if record is None else entries_of(record.links)

    async def children(self, run_id: str) -> list[AuditRun]:
        """Runs that this one started, the oldest first."""
        parent = ident(run_id)
        return self._select(lambda run: run.parent_run_id == parent)

    async def ancestors(self, run_id: str) -> list[AuditRun]:
        """The run's parent, its parent, and so on; a cycle ends the walk."""
        found: list[AuditRun] = []
        seen = {ident(run_id)}
        run = await self.run(run_id)
        while run is not None and run.parent_run_id and run.parent_run_id not in seen:
            seen.add(run.parent_run_id)
            run = await self.run(run.parent_run_id)
            if run is not None:
                found.append(run)
        return found

    async def open_past(self, at: datetime, *, limit: int = 1_000) -> list[AuditRun]:
        """Open runs whose deadline is not after `at`, the most overdue first."""
        due = self._select(lambda run: run.status is None and _due(run) <= at)
        return sorted(due, key=_due)[:limit]

    async def verify(self, run_id: str | None = None) -> AuditProof:
        """Prove one run's record, or all of them."""
        if run_id is None:
            chosen = list(self._records.values())
        else:
            record = self._records.get(ident(run_id))
            chosen = [] if record is None else [record]
        breaks = [prove(record.expected(), record.links) for record in chosen]
        return AuditProof(
            runs=len(chosen),
            entries=sum(len(record.links) for record in chosen),
            breaks=tuple(found for found in breaks if found is not None),
        )

    async def purge(self, older_than: datetime) -> int:
        """Forget closed runs that ended before `older_than`; answers how many."""
        cut = micros(older_than)
        gone = [
            key
            for key, record in self._records.items()
            if (close := standing_close(record.links)) is not None and close.at < cut
        ]
        for key in gone:
            del self._records[key]
        return len(gone)

    def _record(self, run_id: str) -> _Record:
        key = ident(run_id)
        return self._records.setdefault(key, _Record(key))

    def _select(
        self, matches: Callable[[AuditRun], bool], *, newest_first: bool = False
    ) -> list[AuditRun]:
        runs = [run_of(record.expected()) for record in self._records.values()]
        chosen = [run for run in runs if matches(run)]
        return sorted(chosen, key=lambda run: (run.started_at, run.run_id), reverse=newest_first)


def _due(run: AuditRun) -> datetime:
    return run.deadline_at or run.started_at
