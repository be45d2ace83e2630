"""Behind a transaction-pooling pgbouncer: a transaction leaves nothing on its server connection."""

import psycopg
from sqlalchemy import Connection, text

from bench.postgres import Postgres
from executus.budget import BudgetCommit
from executus.stores.caps import CapChange
from executus.stores.database import Database
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from tests.stores.clocks import call, check, closing, meter, opening, row

LEFT_BEHIND = {
    "prepared statements": "SELECT count(*) FROM pg_prepared_statements",
    "cursors": "SELECT count(*) FROM pg_cursors WHERE is_holdable",
    "locks": "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    "settings": "SELECT count(*) FROM pg_settings WHERE source = 'session'"
    " AND name !~ '^transaction_'",  # those end with it
    "channels": "SELECT count(*) FROM pg_listening_channels()",
    "temporary tables": "SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()",
}
"""What a server connection may hold over the end of a transaction, and counts of it."""


async def test_postgres_is_safe_behind_a_transaction_pooler(postgres: Postgres) -> None:
    # There, each transaction may run on another server connection, which others used before.
    database = Database(postgres.new_schema(), pool_size=1)
    await database.migrate()
    budget, audit = SqlBudget(database), SqlAudit(database)
    await budget.set_cap(CapChange("caller:alice", "day", "tokens", 10_000, by="test"))
    await budget.set_cap(CapChange("agent:*", None, None, None, "unlimited", by="test"))
    for name in [f"run{number}" for number in range(8)]:  # five uses make drivers prepare
        assert (await budget.check(check(name, tokens=10))).admitted
        await audit.start(opening(name))
        await budget.authorize(call(name, tokens=20))
        await budget.meter(meter(name, tokens=15))
        await audit.record(name, [row()])
        await budget.commit(BudgetCommit(run_id=name, seconds=1))
        await audit.close(closing(name))
    assert (await audit.verify()).ok

    def left(connection: Connection) -> dict[str, int]:
        return {what: connection.scalar(text(query)) for what, query in LEFT_BEHIND.items()}

    found = await database.read(left)
    raw = await database.read(lambda connection: connection.connection.driver_connection)
    assert raw is not None
    assert raw.prepare_threshold is None
    assert "target_session_attrs=read-write" in raw.info.dsn
    await database.close()
    assert found == dict.fromkeys(LEFT_BEHIND, 0)


def test_what_a_transaction_leaves_behind_is_seen(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url(), autocommit=True, prepare_threshold=1) as connection:
        for statement in (
            "SELECT pg_advisory_lock(7)",
            "SET lock_timeout = 1000",
            "LISTEN somebody",
            "CREATE TEMP TABLE own (a int)",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        ):
            connection.execute(statement)
        for _ in range(3):
            connection.execute("SELECT 1")
        for what, query in LEFT_BEHIND.items():
            (count,) = connection.execute(query).fetchone() or (0,)
            assert count, what
