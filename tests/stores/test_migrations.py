import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, inspect, select, text
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from executus.errors import ConfigError, MissingExtra, SchemaError, StoreError
from executus.plugin import ExecutusPlugin
from executus.ports import Ports
from executus.stores import schema
from executus.stores.database import DEFAULT_FILE, Database, parse_url
from executus.stores.memory import MemoryAudit
from executus.stores.migrations import MIGRATIONS, script
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from executus.stores.sql_letters import SqlLetters
from tests.stores.clocks import opening


async def test_two_migrators_at_once_apply_every_step_once(url: str) -> None:
    databases = [Database(url) for _ in range(4)]
    applied = await asyncio.gather(*(database.migrate() for database in databases))
    assert sorted(name for names in applied for name in names) == [m.name for m in MIGRATIONS]
    assert await databases[0].migrate() == []
    for database in databases:
        await database.close()


async def test_migrated_tables_are_the_tables_of_the_schema(database: Database) -> None:
    def compare(connection: Connection) -> None:
        there = inspect(connection)
        assert set(there.get_table_names()) == set(schema.metadata.tables)
        for name, table in schema.metadata.tables.items():
            found = {column["name"]: column for column in there.get_columns(name)}
            if name == schema.migrations.name:
                assert found.pop("applied_at")
            assert list(found) == [column.name for column in table.columns]
            keys = there.get_pk_constraint(name)["constrained_columns"]
            assert keys == [column.name for column in table.primary_key]
            for column in table.columns:
                assert str(found[column.name]["type"]) == str(column.type).upper(), column
                if not column.primary_key:
                    assert found[column.name]["nullable"] is column.nullable, column

    await database.read(compare)


async def test_the_printed_script_brings_the_schema_up(url: str) -> None:
    database = Database(url)
    if database.dialect == "sqlite":
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw:
            raw.executescript(script("sqlite"))
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(script("postgresql").encode())
    await SqlAudit(database).start(opening())
    assert await database.migrate() == []
    await database.close()


async def test_a_database_without_schema_names_the_command(url: str) -> None:
    database = Database(url)
    for use in (SqlAudit(database).start(opening()), SqlBudget(database).caps()):
        with pytest.raises(SchemaError, match="executus migrate"):
            await use
    await database.close()


async def test_auto_migrate_needs_no_command(url: str) -> None:
    database = Database(url, auto_migrate=True)
    await SqlAudit(database).start(opening())
    await database.close()


async def test_a_database_ahead_of_this_version_still_serves(database: Database, url: str) -> None:
    later = schema.migrations.insert().values(name="9999_later")
    await database.write(lambda connection: connection.execute(later))
    other = Database(url)
    await SqlAudit(other).start(opening())
    await other.close()


async def test_sqlite_survives_a_power_cut_and_waits_for_its_lock(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/deep/er/store.db")
    await database.migrate()
    names = ("journal_mode", "synchronous", "busy_timeout")
    values = await database.read(lambda c: [c.scalar(text(f"PRAGMA {name}")) for name in names])
    assert values[:2] == ["wal", 2]
    assert values[2] >= 5_000
    await database.close()


async def test_the_default_database_lies_in_the_project_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    database = Database()
    await database.migrate()
    assert (tmp_path / DEFAULT_FILE).exists()
    await database.close()


@pytest.mark.parametrize("attrs", ["any", "standby", "prefer-standby", "read-only"])
def test_a_budget_refuses_a_url_that_may_lead_to_a_replica(attrs: str) -> None:
    database = Database(f"postgresql://h/d?target_session_attrs={attrs}")
    with pytest.raises(ConfigError, match="primary"):
        SqlBudget(database)
    SqlAudit(database)


@pytest.mark.parametrize(
    "url", ["postgresql://user:pa55@h:pa55/d", "nonsense pa55", "mysql://u:pa55@h/d"]
)
def test_a_url_that_cannot_be_used_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url(url)
    assert "pa55" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r'pip install "executus\[postgres\]"'):
        parse_url("postgresql://h/d")


async def test_an_unreachable_server_is_a_store_error_without_the_password() -> None:
    database = Database("postgresql://user:pa55word@127.0.0.1:1/d")
    with pytest.raises(StoreError) as caught:
        await database.read(lambda connection: connection.execute(select(1)))
    assert "pa55word" not in str(caught.value) + database.location
    assert caught.value.__suppress_context__
    await database.close()


async def test_an_error_names_neither_sql_nor_values(database: Database) -> None:
    with pytest.raises(StoreError) as caught:
        await database.write(
            lambda connection: connection.execute(
                text("INSERT INTO budget_scopes (scope, settled_ms) VALUES (:s, -1)"),
                {"s": "secret-value"},
            )
        )
    assert "INSERT" not in str(caught.value)
    assert "secret-value" not in str(caught.value)


async def test_a_cancelled_caller_never_tears_a_transaction(database: Database) -> None:
    audit = SqlAudit(database)
    for number in range(20):
        task = asyncio.ensure_future(audit.start(opening(f"run-{number}")))
        await asyncio.sleep(0.0005 * (number % 5))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (await audit.verify()).ok


async def test_a_worker_whose_database_has_no_schema_does_not_start(
    url: str, temporal: WorkflowEnvironment
) -> None:
    database = Database(url)
    plugin = ExecutusPlugin(ports=Ports(audit=SqlAudit(database), budget=SqlBudget(database)))
    queue = f"no-schema-{database.dialect}"
    with pytest.raises(SchemaError, match="executus migrate"):
        async with asyncio.timeout(60), Worker(temporal.client, task_queue=queue, plugins=[plugin]):
            await asyncio.Event().wait()
    await database.migrate()
    await plugin.check_stores()
    await database.close()


async def test_a_worker_whose_database_is_away_serves_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its runs are refused until the database answers; an outage is no reason not to start."""
    database = Database("postgresql://u:pa55@127.0.0.1:1/none")
    ports = Ports(letters=SqlLetters(database), budget=SqlBudget(database), audit=MemoryAudit())
    plugin = ExecutusPlugin(ports=ports)
    await plugin.check_stores()
    await plugin.check_stores()  # a command asks before it starts a server, and its worker again
    [line] = caplog.messages
    assert line.startswith("executus: a store does not answer: postgresql: ")
    assert "pa55" not in line
    await database.close()
