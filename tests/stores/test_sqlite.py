"""SQLite's one writer: what is asked for at the same time is one transaction, and yet apart."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from executus.errors import StoreError
from executus.stores.database import Database
from executus.stores.prepared import driver
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from tests.stores.clocks import check, closing, opening, row

ADD = "INSERT INTO budget_scopes VALUES (?, 0, 0, 0, 0, 0, 0)"


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/store.db")
    await database.migrate()
    yield database
    await database.close()


def add(name: str):
    def work(connection: Connection) -> str:
        driver(connection).execute(ADD, (name,))
        return name

    return work


async def names(database: Database) -> set[str]:
    query = text("SELECT scope FROM budget_scopes")
    return set(await database.read(lambda connection: list(connection.scalars(query))))


async def test_what_is_asked_for_at_the_same_time_is_one_transaction(file: Database) -> None:
    said: list[str] = []
    await file.write(lambda connection: driver(connection).set_trace_callback(said.append))
    said.clear()
    found = await asyncio.gather(*(file.write(add(f"s{n}")) for n in range(20)))
    assert found == [f"s{n}" for n in range(20)]
    assert said.count("COMMIT") == 1
    assert len(said) == 2 + 20, "a statement is a turn of the interpreter's lock: no savepoints"
    assert len(await names(file)) == 20


async def test_a_work_that_fails_takes_nothing_of_the_others_with_it(file: Database) -> None:
    def fails(connection: Connection) -> None:
        add("half")(connection)
        raise LookupError("no")

    outcomes = await asyncio.gather(
        file.write(add("a")), file.write(fails), file.write(add("b")), return_exceptions=True
    )
    assert (outcomes[0], outcomes[2]) == ("a", "b")
    assert isinstance(outcomes[1], LookupError)
    assert await names(file) == {"a", "b"}


async def test_a_commit_that_fails_fails_all_of_it_and_the_next_one_works(file: Database) -> None:
    def breaks(connection: Connection) -> None:
        driver(connection).execute("ROLLBACK")

    outcomes = await asyncio.gather(
        *(file.write(work) for work in (add("a"), breaks, add("b"))), return_exceptions=True
    )
    assert all(isinstance(outcome, StoreError) for outcome in outcomes)
    assert await names(file) == set()
    assert await file.write(add("c")) == "c"
    assert await names(file) == {"c"}


async def test_a_lock_that_another_process_keeps_is_a_store_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executus.stores.sqlite.TIMEOUT", 0.2)
    url = f"sqlite:///{tmp_path}/store.db"
    database = Database(url, auto_migrate=True)
    await database.write(add("before"))
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked"):
        await database.write(add("during"))
    assert await names(database) == {"before"}, "reading goes on"
    other.execute("COMMIT")
    other.close()
    await database.write(add("after"))
    assert await names(database) == {"before", "after"}
    await database.close()


async def test_a_database_in_memory_reads_and_writes_at_the_same_time() -> None:
    database = Database("sqlite://", auto_migrate=True)
    await asyncio.gather(*(database.write(add(f"s{n}")) for n in range(5)), names(database))
    assert len(await names(database)) == 5
    await database.close()


async def test_a_cancelled_caller_goes_on_when_its_transaction_has_ended(file: Database) -> None:
    for turns in range(6):
        task = asyncio.ensure_future(file.write(add(f"s{turns}")))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        there = f"s{turns}" in await names(file)
        assert there == bool(turns), "begun is done when the caller hears of its cancel"
    slow = asyncio.ensure_future(file.write(lambda _: time.sleep(0.2)))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert time.monotonic() - began > 0.1


async def test_close_waits_for_what_was_asked_for_and_takes_nothing_after_it(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    database = Database(url, auto_migrate=True)
    await database.migrate()
    writing = [asyncio.ensure_future(database.write(add(f"s{n}"))) for n in range(100)]
    await asyncio.sleep(0)
    await database.close()
    assert len(await asyncio.gather(*writing)) == 100
    with pytest.raises(StoreError, match="closed"):
        await database.write(add("late"))
    again = Database(url)
    assert len(await names(again)) == 100
    await again.close()


async def test_a_full_disk_is_a_store_error_and_tears_nothing(file: Database) -> None:
    audit, budget = SqlAudit(file), SqlBudget(file, unlimited_by_default=True)
    assert (await budget.check(check("before", tokens=1))).admitted
    await audit.start(opening("before"))
    big = row(content={"text": "x" * 60_000})

    def empty(connection: Connection) -> None:
        driver(connection).execute("PRAGMA max_page_count=1000000")

    def fill(connection: Connection) -> None:  # the writer's connection; broken, it is replaced
        pages = driver(connection).execute("PRAGMA page_count").fetchone()[0]
        driver(connection).execute(f"PRAGMA max_page_count={pages + 2}")

    await file.write(fill)
    with pytest.raises(StoreError, match="full"):
        await audit.record("before", [big])
    await file.write(fill)
    asked = [budget.check(check(f"run{number}", tokens=1)) for number in range(300)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert failed
    assert all(isinstance(failure, StoreError) for failure in failed)
    [use] = [
        use
        for use in await budget.show("caller:alice")
        if (use.window, use.currency) == ("total", "tokens")
    ]
    held = 1 + len(outcomes) - len(failed)
    assert (use.reserved, use.settled) == (held, 0), "each is there as a whole, or not at all"
    await file.write(empty)
    await audit.record("before", [big])
    await audit.close(closing("before"))
    assert (await audit.verify()).ok
