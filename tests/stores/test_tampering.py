"""Whoever edits the database behind the audit's back is found, at the first place."""

import pytest
from sqlalchemy import Connection, text

from executus.errors import StoreError
from executus.stores.database import Database
from executus.stores.sql_audit import SqlAudit
from tests.stores.clocks import closing, opening, row

ENTRY_EDITS = {
    "body": "'{}'",
    "key": "'m9#1'",
    "kind": "'tool'",
    "name": "'other'",
    "status": "'error'",
    "at": "at + 1",
    "hash": "closed.hash",
    "entry": "'event'",
}
RUN_EDITS = {
    "workflow_run_id": "'x'",
    "parent_run_id": "'x'",
    "agent_id": "'x'",
    "agent_name": "'x'",
    "caller_id": "'mallory'",
    "tenant_id": "'x'",
    "channel_id": "'x'",
    "started_at": "1",
    "deadline_at": "NULL",
    "due_at": "1",
    "status": "'error'",
    "reason": "'internal'",
    "closed_by": "'sweeper'",
    "ended_at": "1",
    "cost_micro_usd": "1",
    "n_close": "2",
    "entries": "4",
    "head": "'x'",
    "closed_head": "'x'",
    "closed_entries": "4",
}

SQLITE_ONLY = [("entries", "'abc'"), ("started_at", "'abc'")]
"""PostgreSQL takes no text for a number."""
UNREADABLE_RUNS = [("started_at", str(2**63 - 1)), ("status", "'abc'"), *SQLITE_ONLY]


@pytest.fixture
async def audit(database: Database) -> SqlAudit:
    audit = SqlAudit(database)
    for name in ("run", "other"):
        await audit.start(opening(name))
        await audit.record(name, [row(f"m{n}#1", content={"n": n}) for n in range(1, 4)])
        await audit.close(closing(name))
    assert (await audit.verify()).ok
    return audit


async def tamper(audit: SqlAudit, *statements: str) -> None:
    def work(connection: Connection) -> None:
        for statement in statements:
            assert connection.execute(text(statement)).rowcount == 1, statement

    await audit._database.write(work)


async def broken(audit: SqlAudit) -> tuple[int | None, str]:
    proof = await audit.verify()
    [found] = proof.breaks
    assert not proof.ok
    assert found.run_id == "run"
    assert (await audit.verify("run")).breaks == proof.breaks
    assert (await audit.verify("other")).ok
    return found.seq, found.what


@pytest.mark.parametrize("column", ENTRY_EDITS)
async def test_an_edited_entry_is_named(audit: SqlAudit, column: str) -> None:
    value = ENTRY_EDITS[column].replace("closed.hash", "'" + "0" * 64 + "'")
    where = "run_id = 'run' AND seq = 2"
    await tamper(audit, f"UPDATE audit_entries SET {column} = {value} WHERE {where}")  # noqa: S608
    seq, what = await broken(audit)
    assert seq == 2
    assert "hash does not match" in what


@pytest.mark.parametrize("column", RUN_EDITS)
async def test_an_edited_run_is_named(audit: SqlAudit, column: str) -> None:
    value = RUN_EDITS[column]
    await tamper(audit, f"UPDATE audit_runs SET {column} = {value} WHERE run_id = 'run'")  # noqa: S608
    seq, what = await broken(audit)
    assert seq is None
    assert f"`{column}`" in what


@pytest.mark.parametrize("seq", [0, 2])
async def test_a_removed_entry_is_named(audit: SqlAudit, seq: int) -> None:
    await tamper(audit, f"DELETE FROM audit_entries WHERE run_id = 'run' AND seq = {seq}")  # noqa: S608
    assert (await broken(audit))[0] == seq


async def test_a_removed_entry_is_named_when_the_rest_moved_up(audit: SqlAudit) -> None:
    await tamper(
        audit,
        "DELETE FROM audit_entries WHERE run_id = 'run' AND seq = 2",
        "UPDATE audit_entries SET seq = 2 WHERE run_id = 'run' AND seq = 3",
        "UPDATE audit_entries SET seq = 3 WHERE run_id = 'run' AND seq = 4",
    )
    assert (await broken(audit))[0] == 2


async def test_a_cut_tail_is_named(audit: SqlAudit) -> None:
    await tamper(audit, "DELETE FROM audit_entries WHERE run_id = 'run' AND seq = 4")
    seq, what = await broken(audit)
    assert (seq, "cut" in what) == (4, True)


async def test_a_tail_cut_together_with_its_count_is_named(audit: SqlAudit) -> None:
    await tamper(
        audit,
        "DELETE FROM audit_entries WHERE run_id = 'run' AND seq = 4",
        "UPDATE audit_runs SET entries = 4, head = (SELECT hash FROM audit_entries "
        "WHERE run_id = 'run' AND seq = 3) WHERE run_id = 'run'",
    )
    seq, what = await broken(audit)
    assert (seq, "`n_close`" in what) == (None, True)


async def test_swapped_entries_are_named(audit: SqlAudit) -> None:
    await tamper(
        audit,
        "UPDATE audit_entries SET seq = 99 WHERE run_id = 'run' AND seq = 1",
        "UPDATE audit_entries SET seq = 1 WHERE run_id = 'run' AND seq = 2",
        "UPDATE audit_entries SET seq = 2 WHERE run_id = 'run' AND seq = 99",
    )
    assert (await broken(audit))[0] == 1


async def test_an_entry_moved_in_from_another_run_is_named(audit: SqlAudit) -> None:
    await tamper(
        audit,
        "DELETE FROM audit_entries WHERE run_id = 'run' AND seq = 2",
        "INSERT INTO audit_entries SELECT 'run', seq, entry, key, kind, name, status, at, body, "
        "hash FROM audit_entries WHERE run_id = 'other' AND seq = 2",
    )
    assert (await broken(audit))[0] == 2


@pytest.mark.parametrize("seq", [-1, 5])
async def test_an_entry_put_in_is_named(audit: SqlAudit, seq: int) -> None:
    await tamper(
        audit,
        "INSERT INTO audit_entries SELECT run_id, 50, 'row', 'new', kind, name, status, at, body, "
        "hash FROM audit_entries WHERE run_id = 'run' AND seq = 2",
        f"UPDATE audit_entries SET seq = {seq} WHERE run_id = 'run' AND seq = 50",  # noqa: S608
    )
    assert (await broken(audit))[0] in {0, seq}


async def test_a_removed_run_is_named_while_its_entries_are_there(audit: SqlAudit) -> None:
    await tamper(audit, "DELETE FROM audit_runs WHERE run_id = 'run'")
    seq, what = await broken(audit)
    assert (seq, what) == (None, "the run's own row is missing")


async def test_removed_entries_are_named_while_the_run_is_there(audit: SqlAudit) -> None:
    await tamper(
        audit,
        *(f"DELETE FROM audit_entries WHERE run_id = 'run' AND seq = {n}" for n in range(5)),  # noqa: S608
    )
    assert (await broken(audit))[0] == 0


@pytest.mark.parametrize(("column", "value"), UNREADABLE_RUNS)
async def test_a_run_that_does_not_read_is_named_and_hides_no_other(
    audit: SqlAudit, database: Database, column: str, value: str
) -> None:
    edit = f"UPDATE audit_runs SET {column} = {value} WHERE run_id = 'run'"  # noqa: S608
    if database.dialect == "postgresql" and (column, value) in SQLITE_ONLY:
        with pytest.raises(StoreError, match="invalid input syntax"):
            await tamper(audit, edit)
        return
    await tamper(audit, edit)
    await broken(audit)
    with pytest.raises(StoreError, match="record of run `run` is damaged: executus audit verify"):
        await audit.run("run")
    names = {run.run_id: run.agent_name for run in await audit.runs()}
    assert names == {"run": "(damaged: verify it)", "other": "Agent"}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("body", "'{'"),
        ("body", "'[1]'"),
        ("entry", "'\x1b[2J'"),
        ("at", str(2**63 - 1)),
    ],
)
async def test_an_entry_that_does_not_read_is_named(
    audit: SqlAudit, column: str, value: str
) -> None:
    await tamper(
        audit,
        f"UPDATE audit_entries SET {column} = {value} WHERE run_id = 'run' AND seq = 2",  # noqa: S608
    )
    seq, what = await broken(audit)
    assert (seq, "\x1b" in what) == (2, False)
    with pytest.raises(StoreError, match="entry 2 of run `run` is damaged: executus audit verify"):
        await audit.rows("run")


async def test_a_chain_longer_than_a_page_verifies(database: Database) -> None:
    audit = SqlAudit(database)
    await audit.record("run", [row(f"m{n}") for n in range(1_203)])
    assert (await audit.verify()).ok
    await tamper(audit, "UPDATE audit_entries SET name = 'x' WHERE seq = 1100")
    assert (await broken_of(audit)) == 1_100


async def broken_of(audit: SqlAudit) -> int | None:
    [found] = (await audit.verify("run")).breaks
    return found.seq
