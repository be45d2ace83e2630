"""Reads of the audit's chains in a database, and their proof, a page at a time."""

from sqlalchemy import Connection, bindparam, or_, select

from executus.audit import AuditBreak, AuditProof
from executus.stores.chain import Expected, Prover
from executus.stores.links import Link
from executus.stores.prepared import Prepared
from executus.stores.records import UNREADABLE
from executus.stores.schema import audit_entries as entries

PROOF_PAGE = 500
"""Entries of a chain that a proof holds in memory."""
LINK_COLUMNS = tuple(entries.c[name] for name in Link._fields)
MARKS = Prepared(
    select(*LINK_COLUMNS)
    .where(
        entries.c.run_id == bindparam("at_run"),
        or_(entries.c.entry == "close", entries.c.entry == "reset"),
    )
    .order_by(entries.c.seq)
)


def links_of(connection: Connection, run_id: str) -> list[Link]:
    """A run's whole chain."""
    query = select(*LINK_COLUMNS).where(entries.c.run_id == run_id).order_by(entries.c.seq)
    return [Link(*row) for row in connection.execute(query)]


def marks_of(connection: Connection, run_id: str) -> list[Link]:
    """Its closes and resets."""
    return [Link(*row) for row in MARKS.all(connection, {"at_run": run_id})]


def prove_run(connection: Connection, expected: Expected) -> AuditProof:
    """Whether a run's record holds together."""
    try:
        count, found = _prove_chain(connection, expected)
    except UNREADABLE as failure:
        what = f"it does not read ({type(failure).__name__}): somebody wrote past executus"
        count, found = 0, AuditBreak(run_id=str(expected.run_id), seq=None, what=what)
    return AuditProof(runs=1, entries=count, breaks=() if found is None else (found,))


def _page(connection: Connection, run_id: str, last: int | None) -> list[Link]:
    query = select(*LINK_COLUMNS).where(entries.c.run_id == run_id)
    if last is not None:
        query = query.where(entries.c.seq > last)
    result = connection.execute(query.order_by(entries.c.seq).limit(PROOF_PAGE))
    return [Link(*row) for row in result]


def _prove_chain(connection: Connection, expected: Expected) -> tuple[int, AuditBreak | None]:
    """How many entries there are, and the first place that does not hold."""
    prover, found, last = Prover(expected), None, None
    while found is None and (page := _page(connection, expected.run_id, last)):
        found, last = prover.feed(page), page[-1].seq
    return int(expected.entries), found or prover.finish()


def prove_orphan(connection: Connection, run_id: str) -> AuditProof:
    """The same of one that has no row of its own."""
    if not _page(connection, run_id, None):
        return AuditProof(runs=0, entries=0)
    found = AuditBreak(run_id=run_id, seq=None, what="the run's own row is missing")
    return AuditProof(runs=1, entries=0, breaks=(found,))
