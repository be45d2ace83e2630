"""What the audit keeps of a run that was reset: the same in memory and on both databases."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from executus.audit import AuditEntry, AuditRow, in_execution
from executus.stores.database import Database
from executus.stores.memory import MemoryAudit
from executus.stores.sql_audit import SqlAudit
from tests.stores.clocks import NOW, closing, opening, row

AnyAudit = MemoryAudit | SqlAudit


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def audit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyAudit]:
    if request.param == "memory":
        yield MemoryAudit()
        return
    postgres = request.param == "postgresql"
    url = f"sqlite:///{tmp_path}/a.db"
    database = Database(request.getfixturevalue("postgres").new_schema() if postgres else url)
    await database.migrate()
    yield SqlAudit(database)
    await database.close()


def at(seconds: float) -> Any:
    return NOW + timedelta(seconds=seconds)


def reset(name: str, seconds: float, *, line: tuple[str, ...], **content: Any) -> AuditRow:
    """The reset that began `name`, after `seconds`; what happened from second 2 on is void."""
    told = {"base": line[-1], "line": list(line), "back": [], "fork_at": micros(2), **content}
    return row(f"reset@{name}", kind="reset", name="reset", status="", at=at(seconds), content=told)


def micros(seconds: float) -> int:
    return int(at(seconds).timestamp() * 1_000_000)


async def first_life(audit: AnyAudit) -> Any:
    await audit.start(opening())
    await audit.record("run", [row("m1#1", at=at(1)), row("m2#1", at=at(3))])
    early, late = row("e1", kind="event", at=at(1)), row("e2", kind="event", at=at(3))
    await audit.record("run", [early, late])
    return await audit.close(closing(ended_at=at(4)))


def by_key(entries: list[AuditEntry]) -> dict[str, AuditEntry]:
    return {entry.key: entry for entry in entries}


async def test_a_reset_opens_the_record_and_the_new_outcome_is_the_runs(audit: AnyAudit) -> None:
    first = await first_life(audit)
    await audit.record("run", [reset("two", 10, line=("",), back=["m2#1"])])
    run = await audit.run("run")
    assert run is not None
    assert (run.status, run.n_close, run.closed_head, run.ended_at) == (None, 0, None, None)
    assert [r.run_id for r in await audit.open_past(at(1_000))] == ["run"], "the sweeper looks"
    assert (await audit.verify()).ok
    await audit.record("run", [row("m2#1@two", at=at(11))])
    second = await audit.close(closing(status="error", reason="internal", execution="two"))
    run = await audit.run("run")
    assert run is not None
    assert (run.status, run.n_close, run.closed_head) == ("error", 1, second.head)
    assert second.head != first.head
    assert (await audit.verify()).ok
    entries = by_key(await audit.rows("run"))
    assert [entries[key].execution for key in ("m2#1", "m2#1@two")] == ["", "two"]
    void = {key for key, entry in entries.items() if entry.superseded_at}
    assert void == {"m2#1", "e2", "close"}
    assert entries["close"].superseded_at == at(10)
    assert not any(entry.late for entry in entries.values())
    again = await audit.close(closing(status="ok", execution="two"))
    assert again == second, "each execution ends once"
    assert await audit.close(closing(closed_by="sweeper")) == first


async def test_a_step_made_again_supersedes_the_first_whatever_the_reset_row_says(
    audit: AnyAudit,
) -> None:
    await first_life(audit)
    await audit.record("run", [reset("two", 10, line=("",)), row("m2#2@two", at=at(11))])
    assert by_key(await audit.rows("run"))["m2#1"].superseded_at == at(10)


async def test_what_outlived_the_reset_changes_nothing(audit: AnyAudit) -> None:
    """A call of the first execution that was under way when it was reset, and its close."""
    await audit.start(opening())
    await audit.record("run", [row("m1#1", at=at(1)), reset("two", 10, line=("",))])
    await audit.record("run", [row("m2#1", at=at(12))])
    await audit.close(closing(status="error", reason="internal", ended_at=at(12)))
    run = await audit.run("run")
    assert run is not None
    assert (run.status, run.n_close) == (None, 0)
    receipt = await audit.close(closing(execution="two", ended_at=at(20)))
    await audit.record("run", [row("m3#1", at=at(21)), row("m3#1@two", at=at(22))])
    run = await audit.run("run")
    assert run is not None
    assert (run.status, run.closed_head) == ("ok", receipt.head)
    entries = by_key(await audit.rows("run"))
    void = {key for key, entry in entries.items() if entry.superseded_at}
    assert void == {"m2#1", "m3#1", "close"}
    assert {key for key, entry in entries.items() if entry.late} == {"m3#1", "m3#1@two"}
    assert (await audit.verify()).ok


async def test_a_row_of_before_the_reset_that_comes_behind_it_still_counts(
    audit: AnyAudit,
) -> None:
    await audit.record("run", [reset("two", 10, line=("",)), row("m1.t1#1", at=at(1))])
    assert by_key(await audit.rows("run"))["m1.t1#1"].superseded_at is None


async def test_of_two_resets_the_one_asked_for_last_counts(audit: AnyAudit) -> None:
    """Both from the first execution; the record is told of the first one last."""
    await first_life(audit)
    await audit.record("run", [reset("three", 30, line=("",), back=["m2#1"])])
    await audit.record("run", [row("m2#1@three", at=at(31))])
    receipt = await audit.close(closing(execution="three", ended_at=at(32)))
    await audit.record("run", [reset("two", 20, line=("",)), row("m2#1@two", at=at(21))])
    await audit.close(closing(status="error", reason="internal", execution="two"))
    run = await audit.run("run")
    assert run is not None
    assert (run.status, run.closed_head) == ("ok", receipt.head)
    void = {key for key, e in by_key(await audit.rows("run")).items() if e.superseded_at}
    assert void == {"m2#1", "e2", "close", "m2#1@two", "close@two"}
    assert (await audit.verify()).ok


async def test_an_execution_that_a_reset_run_went_on_in_may_close_it(audit: AnyAudit) -> None:
    await first_life(audit)
    await audit.record("run", [reset("two", 10, line=("",)), row("m2#1@two", at=at(11))])
    await audit.record("run", [row("m9#1@four", at=at(12))])
    await audit.close(closing(status="error", reason="internal", execution="four"))
    run = await audit.run("run")
    assert run is not None
    assert run.status == "error"
    assert by_key(await audit.rows("run"))["m9#1@four"].superseded_at is None


async def test_without_a_reset_an_execution_of_another_name_does_not_close_again(
    audit: AnyAudit,
) -> None:
    first = await first_life(audit)
    assert await audit.close(closing(status="error", execution="two")) == first


async def test_a_reset_that_was_edited_breaks_the_chain(database: Database) -> None:
    audit = SqlAudit(database)
    await first_life(audit)
    await audit.record("run", [reset("two", 10, line=("",))])

    def work(connection: Connection) -> None:
        connection.execute(text("UPDATE audit_entries SET body = '{}' WHERE entry = 'reset'"))

    await database.write(work)
    [found] = (await audit.verify("run")).breaks
    assert found.seq == 6


def test_a_key_says_which_execution() -> None:
    assert in_execution("m1#1", "") == "m1#1"
    assert in_execution("m1#1", "id") == "m1#1@id"
