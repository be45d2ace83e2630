"""The audit in a database: gapless, hash-chained, redacted before it is written.

Opening and close are both upserts, because a run that is cancelled before its first activity still
closes (reliability.md F4). An entry that comes after the close, from an attempt that outlived its
run, is appended behind it and shows as `late`: the closed part and its head stay as they were. The
same holds of what a reset brings (`standing.py`), which opens the record again.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Executable, Select, bindparam, delete, select, update

from executus.audit import (
    AuditClose,
    AuditEntry,
    AuditOpen,
    AuditProof,
    AuditPurged,
    AuditReceipt,
    AuditRow,
    AuditRun,
)
from executus.errors import StoreError
from executus.stores.canonical import ident, micros
from executus.stores.chain import (
    Expected,
    closing_columns,
    draft_close,
    draft_open,
    draft_row,
    extend,
    opening_columns,
    stub_columns,
)
from executus.stores.database import Database
from executus.stores.dialects import insert
from executus.stores.entries import links_of, marks_of, prove_orphan, prove_run
from executus.stores.links import Draft, Link
from executus.stores.prepared import Prepared, unless_there
from executus.stores.records import entries_of, listed, purged_of, run_of
from executus.stores.redaction import Policy, Redaction, TextRedactor
from executus.stores.schema import audit_entries as entries
from executus.stores.schema import audit_purges as purges
from executus.stores.schema import audit_runs as runs
from executus.stores.standing import made_close, standing_close

PURGE_BATCH = 200
"""Runs that one transaction of a purge removes: others wait for no more than that."""
CHAIN_COLUMNS = ("run_id", "entries", "head", "n_close", "closed_head", "closed_entries")

# Statements stand here once: building one costs more than running it.
HERE = select(runs).where(runs.c.run_id == bindparam("at_run"))
RUN = Prepared(HERE)
LOCKED = Prepared(
    HERE.with_only_columns(*(runs.c[name] for name in CHAIN_COLUMNS)).with_for_update()
)
THERE = select(entries.c.entry, entries.c.key).where(
    entries.c.run_id == bindparam("at_run"),
    entries.c.entry.in_(bindparam("entries", expanding=True)),
    entries.c.key.in_(bindparam("keys", expanding=True)),
)
INSERT = Prepared(entries.insert(), columns=Link._fields)
INSERT_NEW = unless_there(entries, entries.c.run_id, entries.c.entry, entries.c.key)
GROWN = Prepared(
    update(runs)
    .where(runs.c.run_id == bindparam("at_run"))
    .values(entries=bindparam("length"), head=bindparam("hash"))
)


class SqlAudit:
    """An `Audit` in SQLite or PostgreSQL. The database belongs to the caller."""

    def __init__(
        self,
        database: Database,
        redactor: TextRedactor | None = None,
        policy: Policy | None = None,
    ) -> None:
        """`redactor` hides secrets, `policy` says how much content is kept at all."""
        self._database = database
        self._redaction = Redaction(redactor, policy)

    async def ready(self) -> None:
        """See `executus.ports.Ready`."""
        await self._database.ready()

    async def start(self, opening: AuditOpen) -> None:
        """Open the record; nothing changes when it has an opening already."""
        draft = draft_open(self._redaction, opening)

        def work(connection: Connection) -> None:
            record = self._lock(connection, ident(opening.run_id), draft)
            self._append(connection, record, [draft])

        await self._database.write(work)

    async def record(self, run_id: str, rows: Sequence[AuditRow]) -> None:
        """Append the rows whose keys are new."""
        drafts = [draft_row(self._redaction, row) for row in rows]
        if not drafts:
            return

        def work(connection: Connection) -> None:
            record = self._lock(connection, ident(run_id), drafts[0])
            links = self._append(connection, record, drafts)
            if any(link.entry == "reset" for link in links):
                _set_standing(connection, record.run_id)

        await self._database.write(work)

    async def keys(self, run_id: str) -> frozenset[str]:
        """Keys of the rows that are there."""
        query = select(entries.c.key).where(
            entries.c.run_id == ident(run_id), entries.c.entry == "row"
        )
        found = await self._database.read(lambda connection: _names(connection, query))
        return frozenset(found)

    async def close(self, closing: AuditClose) -> AuditReceipt:
        """Close, with the opening when it is missing; again answers the first receipt.

        Once; after a reset the execution that it began closes once more, and that is the outcome
        then. A close of one that was reset meanwhile is put down, and changes nothing.
        """
        opening = draft_open(self._redaction, closing.opening)
        close = draft_close(self._redaction, closing)

        def work(connection: Connection) -> AuditReceipt:
            record = self._lock(connection, ident(closing.opening.run_id), opening)
            made = made_close(marks_of(connection, record.run_id), close)
            if made is None:
                links = self._append(connection, record, [opening, close])
                if not links or links[-1].entry != "close":
                    raise StoreError(f"the record of run {record.run_id} is damaged: verify it")
                made = links[-1]
                _set_standing(connection, record.run_id)
            return AuditReceipt(head=made.hash, rows=made.seq + 1)

        return await self._database.write(work)

    async def run(self, run_id: str) -> AuditRun | None:
        """One run's record without its rows."""
        at = {"at_run": ident(run_id)}
        row = await self._database.read(lambda connection: RUN.first(connection, at))
        return None if row is None else run_of(_expected(row))

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
        query = select(runs).order_by(runs.c.started_at.desc(), runs.c.run_id.desc()).limit(limit)
        if caller_id is not None:
            query = query.where(runs.c.caller_id == ident(caller_id))
        if agent_id is not None:
            query = query.where(runs.c.agent_id == ident(agent_id))
        if top_level:
            query = query.where(runs.c.parent_run_id.is_(None))
        if open_only:
            query = query.where(runs.c.n_close == 0)
        return await self._select(query)

    async def rows(self, run_id: str) -> list[AuditEntry]:
        """Every entry of the run's chain, in order."""
        key = ident(run_id)
        return entries_of(await self._database.read(lambda c: links_of(c, key)))

    async def children(self, run_id: str) -> list[AuditRun]:
        """Runs that this one started, the oldest first."""
        query = select(runs).where(runs.c.parent_run_id == ident(run_id))
        return await self._select(query.order_by(runs.c.started_at, runs.c.run_id))

    async def ancestors(self, run_id: str) -> list[AuditRun]:
        """The run's parent, its parent, and so on; a cycle ends the walk."""
        found: list[AuditRun] = []
        seen = {ident(run_id)}
        run = await self.run(run_id)
        while run and run.parent_run_id and run.parent_run_id not in seen:
            seen.add(run.parent_run_id)
            run = await self.run(run.parent_run_id)
            if run is not None:
                found.append(run)
        return found

    async def open_past(self, at: datetime, *, limit: int = 1_000) -> list[AuditRun]:
        """Open runs whose deadline is not after `at`, the most overdue first."""
        query = select(runs).where(runs.c.n_close == 0, runs.c.due_at <= micros(at))
        return await self._select(query.order_by(runs.c.due_at).limit(limit))

    async def verify(self, run_id: str | None = None) -> AuditProof:
        """Prove one run's record, or all of them; needs nothing but the database."""
        names = [ident(run_id)] if run_id is not None else await self._names()
        proofs = [await self._prove(name) for name in names]
        return AuditProof(
            runs=sum(proof.runs for proof in proofs),
            entries=sum(proof.entries for proof in proofs),
            breaks=tuple(found for proof in proofs for found in proof.breaks),
        )

    async def purge(self, older_than: datetime) -> int:
        """Remove closed runs that ended before `older_than`; answers how many.

        What stays of a run is one row in `audit_purges` with its head. Open runs stay whole.
        """
        total = 0
        while removed := await self._database.write(
            lambda connection: self._purge_some(connection, micros(older_than))
        ):
            total += removed
        return total

    async def _prove(self, run_id: str) -> AuditProof:
        def work(connection: Connection) -> AuditProof:
            row = RUN.first(connection, {"at_run": run_id})
            if row is None:
                return prove_orphan(connection, run_id)
            return prove_run(connection, _expected(row))

        return await self._database.read(work)

    def _lock(self, connection: Connection, run_id: str, first: Draft) -> Expected:
        """The run's row, made when it is missing, and locked until the transaction ends."""
        row = LOCKED.first(connection, {"at_run": run_id})
        if row is None:
            columns = opening_columns(first) if first.entry == "open" else stub_columns(first.at)
            stub = {"run_id": run_id, "n_close": 0, "entries": 0, "head": "", **columns}
            connection.execute(
                insert(self._database.dialect, runs).values(stub).on_conflict_do_nothing()
            )
            row = LOCKED.first(connection, {"at_run": run_id})
        if row is None:
            raise StoreError(f"the record of run {run_id} vanished")
        return _expected(row)

    def _append(
        self, connection: Connection, record: Expected, drafts: Sequence[Draft]
    ) -> list[Link]:
        """Append what is new and answer it. The run's row is locked."""
        alone = len(drafts) == 1
        new = drafts if alone else _new(connection, record.run_id, drafts)
        links = extend(record.run_id, record.entries, record.head, new)
        if not links or (alone and not INSERT_NEW.all(connection, links[0]._asdict())):
            return []
        if not alone:
            INSERT.run_each(connection, [link._asdict() for link in links])
        last = links[-1]
        where = {"at_run": record.run_id, "length": last.seq + 1, "hash": last.hash}
        GROWN.run(connection, where)
        for draft in (draft for draft in new if draft.entry == "open"):
            here = update(runs).where(runs.c.run_id == record.run_id)
            connection.execute(here.values(opening_columns(draft)))
        return links

    def _purge_some(self, connection: Connection, cut: int) -> int:
        query = (
            select(runs)
            .where(runs.c.n_close > 0, runs.c.ended_at < cut)
            .order_by(runs.c.ended_at)
            .limit(PURGE_BATCH)
            .with_for_update(skip_locked=True)
        )
        gone = (connection.execute(query)).mappings().all()
        if not gone:
            return 0
        now = micros(datetime.now(UTC))
        names = [row["run_id"] for row in gone]
        tombs = [
            {name: row[name] for name in ("run_id", "ended_at", "closed_head", "entries")}
            | {"purged_at": now}
            for row in gone
        ]
        connection.execute(purges.insert(), tombs)
        connection.execute(delete(entries).where(entries.c.run_id.in_(names)))
        connection.execute(delete(runs).where(runs.c.run_id.in_(names)))
        return len(gone)

    async def purged(self, run_id: str) -> AuditPurged | None:
        """What the last purge of this run left of it; None when it was never purged."""
        query = select(purges).where(purges.c.run_id == ident(run_id))
        latest = query.order_by(purges.c.purged_at.desc()).limit(1)

        def work(connection: Connection) -> AuditPurged | None:
            row = connection.execute(latest).first()
            return None if row is None else purged_of(row)

        return await self._database.read(work)

    async def closed_heads(self, run_id: str) -> list[str]:
        """Heads of the run's closes, the one that counts first; also of a damaged record."""
        key = ident(run_id)
        query = select(runs.c.closed_head).where(runs.c.run_id == key)

        def work(connection: Connection) -> list[str]:
            counts = connection.scalar(query)
            marks = marks_of(connection, key)
            others = [link.hash for link in marks if link.entry == "close"]
            return list(dict.fromkeys([counts, *others] if counts else others))

        return await self._database.read(work)

    async def _names(self) -> list[str]:
        """Every run of which anything is there, rows without a run included."""
        query = select(runs.c.run_id).union(select(entries.c.run_id)).order_by("run_id")
        return await self._database.read(lambda connection: _names(connection, query))

    async def _select(self, query: Select[Any]) -> list[AuditRun]:
        def work(connection: Connection) -> list[AuditRun]:
            return [listed(_expected(row)) for row in connection.execute(query)]

        return await self._database.read(work)


def _new(connection: Connection, run_id: str, drafts: Sequence[Draft]) -> list[Draft]:
    """Those that are not there, each once."""
    values = {
        "at_run": run_id,
        "entries": sorted({draft.entry for draft in drafts}),
        "keys": sorted({draft.key for draft in drafts}),
    }
    there = {(row.entry, row.key) for row in connection.execute(THERE, values)}
    new: list[Draft] = []
    for draft in drafts:
        at = (draft.entry, draft.key)
        if at not in there:
            there.add(at)
            new.append(draft)
    return new


def _set_standing(connection: Connection, run_id: str) -> None:
    """Let the run's row say which close counts, if any."""
    told = closing_columns(standing_close(marks_of(connection, run_id)))
    connection.execute(update(runs).where(runs.c.run_id == run_id).values(told))


def _names(connection: Connection, query: Executable) -> list[str]:
    return [row[0] for row in connection.execute(query)]


def _expected(row: Any) -> Expected:  # noqa: ANN401 - a row of `audit_runs`
    columns: dict[str, Any] = row._asdict()
    chain = {name: columns.pop(name) for name in CHAIN_COLUMNS}
    return Expected(**chain, columns=columns)
