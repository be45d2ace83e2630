"""The schema's history: numbered steps, appended to and never edited.

What was applied stands in `executus_migrations`. Steps only add, so a database that is ahead of a
worker (a rolling upgrade) serves it still.
"""

from typing import NamedTuple

from sqlalchemy import Connection, func, inspect, select, text

from executus.stores.schema import migrations as applied_table

LOCK = 0x65786563
"""PostgreSQL advisory lock that makes a second migrator wait."""


class Migration(NamedTuple):
    """One step; all of its statements land, or none."""

    name: str
    sql: tuple[str, ...]
    """For both databases."""
    postgresql: tuple[str, ...] = ()
    """After `sql`, on PostgreSQL only."""

    def statements(self, dialect: str) -> tuple[str, ...]:
        """What runs on `dialect`."""
        return self.sql + (self.postgresql if dialect == "postgresql" else ())


AMOUNTS = """
  settled_ms BIGINT NOT NULL DEFAULT 0 CHECK (settled_ms >= 0),
  settled_tokens BIGINT NOT NULL DEFAULT 0 CHECK (settled_tokens >= 0),
  settled_micro_usd BIGINT NOT NULL DEFAULT 0 CHECK (settled_micro_usd >= 0),
  reserved_ms BIGINT NOT NULL DEFAULT 0 CHECK (reserved_ms >= 0),
  reserved_tokens BIGINT NOT NULL DEFAULT 0 CHECK (reserved_tokens >= 0),
  reserved_micro_usd BIGINT NOT NULL DEFAULT 0 CHECK (reserved_micro_usd >= 0)"""

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "0001_audit",
        (
            """CREATE TABLE audit_runs (
  run_id TEXT PRIMARY KEY,
  workflow_run_id TEXT NOT NULL,
  parent_run_id TEXT,
  agent_id TEXT NOT NULL,
  agent_name TEXT NOT NULL,
  caller_id TEXT NOT NULL,
  tenant_id TEXT NOT NULL,
  channel_id TEXT NOT NULL,
  started_at BIGINT NOT NULL,
  deadline_at BIGINT,
  due_at BIGINT NOT NULL,
  status TEXT,
  reason TEXT,
  closed_by TEXT,
  ended_at BIGINT,
  cost_micro_usd BIGINT,
  n_close INTEGER NOT NULL DEFAULT 0,
  entries INTEGER NOT NULL,
  head TEXT NOT NULL,
  closed_head TEXT,
  closed_entries INTEGER
)""",
            "CREATE INDEX audit_runs_parent ON audit_runs (parent_run_id)",
            "CREATE INDEX audit_runs_caller ON audit_runs (caller_id, started_at)",
            "CREATE INDEX audit_runs_agent ON audit_runs (agent_id, started_at)",
            "CREATE INDEX audit_runs_started ON audit_runs (started_at)",
            "CREATE INDEX audit_runs_ended ON audit_runs (ended_at)",
            "CREATE INDEX audit_runs_due ON audit_runs (due_at) WHERE n_close = 0",
            """CREATE TABLE audit_entries (
  run_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  entry TEXT NOT NULL,
  key TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  status TEXT NOT NULL,
  at BIGINT NOT NULL,
  body TEXT NOT NULL,
  hash TEXT NOT NULL,
  PRIMARY KEY (run_id, seq),
  UNIQUE (run_id, entry, key)
)""",
            """CREATE TABLE audit_purges (
  run_id TEXT NOT NULL,
  purged_at BIGINT NOT NULL,
  ended_at BIGINT NOT NULL,
  closed_head TEXT NOT NULL,
  entries INTEGER NOT NULL,
  PRIMARY KEY (run_id, purged_at)
)""",
        ),
    ),
    Migration(
        "0002_budget",
        (
            """CREATE TABLE budget_caps (
  scope TEXT NOT NULL,
  period TEXT NOT NULL,
  currency TEXT NOT NULL,
  version INTEGER NOT NULL,
  verdict TEXT NOT NULL,
  cap BIGINT CHECK (cap >= 0),
  set_at BIGINT NOT NULL,
  set_by TEXT NOT NULL,
  note TEXT NOT NULL,
  PRIMARY KEY (scope, period, currency, version)
)""",
            f"""CREATE TABLE budget_scopes (
  scope TEXT PRIMARY KEY,{AMOUNTS}
)""",
            f"""CREATE TABLE budget_hours (
  scope TEXT NOT NULL,
  hour BIGINT NOT NULL,{AMOUNTS},
  PRIMARY KEY (scope, hour)
)""",
            """CREATE TABLE budget_runs (
  run_id TEXT PRIMARY KEY,
  workflow_run_id TEXT NOT NULL,
  params TEXT NOT NULL,
  parent_run_id TEXT,
  root_run_id TEXT NOT NULL,
  scopes TEXT NOT NULL,
  reserved_at BIGINT NOT NULL,
  hour BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  settled_at BIGINT,
  n_settle INTEGER NOT NULL DEFAULT 0,
  share_ms BIGINT NOT NULL CHECK (share_ms >= 0),
  share_tokens BIGINT NOT NULL CHECK (share_tokens >= 0),
  share_micro_usd BIGINT NOT NULL CHECK (share_micro_usd >= 0),
  need_tokens BIGINT NOT NULL DEFAULT 0 CHECK (need_tokens >= 0),
  need_micro_usd BIGINT NOT NULL DEFAULT 0 CHECK (need_micro_usd >= 0),
  child_ms BIGINT NOT NULL DEFAULT 0,
  lost INTEGER NOT NULL DEFAULT 0
)""",
            "CREATE INDEX budget_runs_root ON budget_runs (root_run_id)",
            "CREATE INDEX budget_runs_held ON budget_runs (expires_at) WHERE n_settle = 0",
            """CREATE TABLE budget_attempts (
  run_id TEXT NOT NULL,
  execution_id TEXT NOT NULL,
  step_id TEXT NOT NULL,
  attempt BIGINT NOT NULL,
  params TEXT NOT NULL,
  state TEXT NOT NULL,
  estimate_tokens BIGINT NOT NULL,
  estimate_micro_usd BIGINT NOT NULL,
  actual_tokens BIGINT,
  actual_micro_usd BIGINT,
  at BIGINT NOT NULL,
  PRIMARY KEY (run_id, execution_id, step_id, attempt)
)""",
            """CREATE TABLE budget_overruns (
  run_id TEXT NOT NULL,
  cause TEXT NOT NULL,
  currency TEXT NOT NULL,
  excess BIGINT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (run_id, cause, currency)
)""",
        ),
        # Their rows are updated all the time: room on the page keeps the updates in place.
        postgresql=(
            "ALTER TABLE budget_scopes SET (fillfactor = 50)",
            "ALTER TABLE budget_hours SET (fillfactor = 50)",
        ),
    ),
    Migration(
        "0003_dead_letters",
        (
            """CREATE TABLE dead_letters (
  id TEXT PRIMARY KEY,
  run_id TEXT NOT NULL,
  target TEXT NOT NULL,
  status TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  error TEXT NOT NULL,
  status_code INTEGER,
  failed_at BIGINT NOT NULL,
  delivered_at BIGINT,
  claimed_until BIGINT NOT NULL DEFAULT 0,
  item TEXT
)""",
            "CREATE INDEX dead_letters_run ON dead_letters (run_id)",
            "CREATE INDEX dead_letters_failed ON dead_letters (failed_at)",
        ),
    ),
    Migration("0004_reset", ("ALTER TABLE budget_runs ADD COLUMN before_ms BIGINT",)),
)

CREATE_APPLIED = """CREATE TABLE IF NOT EXISTS executus_migrations (
  name TEXT PRIMARY KEY,
  applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
)"""


def missing(connection: Connection) -> list[str]:
    """Names of the steps that the database lacks."""
    there = inspect(connection).has_table(applied_table.name)
    applied = _applied(connection) if there else set[str]()
    return [step.name for step in MIGRATIONS if step.name not in applied]


def migrate(connection: Connection, dialect: str) -> list[str]:
    """Apply what is missing, in one transaction; a second migrator waits and finds nothing to do.

    SQLite needs no lock of its own: the transaction begins with the write lock.
    """
    if dialect == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
    connection.execute(text(CREATE_APPLIED))
    applied = _applied(connection)
    lacking = [step for step in MIGRATIONS if step.name not in applied]
    for step in lacking:
        for statement in step.statements(dialect):
            connection.execute(text(statement))
        connection.execute(applied_table.insert().values(name=step.name))
    return [step.name for step in lacking]


def script(dialect: str) -> str:
    """Every step as SQL under its name, for those who apply it by hand, whole or in part."""
    parts = ["BEGIN", CREATE_APPLIED]
    for step in MIGRATIONS:
        first, *others = step.statements(dialect)
        parts += [f"-- {step.name}\n{first}", *others]
        applied = applied_table.insert().values(name=step.name)
        parts.append(str(applied.compile(compile_kwargs={"literal_binds": True})))
    return "".join(f"{part};\n" for part in (*parts, "COMMIT"))


def _applied(connection: Connection) -> set[str]:
    return set((connection.execute(select(applied_table.c.name))).scalars())
