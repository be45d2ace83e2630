"""The tables as SQLAlchemy sees them. `migrations.py` creates them; a test holds the two together.

Times are microseconds since 1970 UTC, durations milliseconds, money micro-USD: integers, the same
on every database. Texts are sanitised before they come here.
"""

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, UniqueConstraint

metadata = MetaData()


def _text(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=primary_key, nullable=nullable)


def _big(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=primary_key, nullable=nullable)


def _small(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[int]:
    return Column(name, Integer, primary_key=primary_key, nullable=nullable)


def _amounts() -> tuple[Column[int], ...]:
    currencies = ("ms", "tokens", "micro_usd")
    return tuple(_big(f"{kind}_{c}") for kind in ("settled", "reserved") for c in currencies)


migrations = Table("executus_migrations", metadata, _text("name", primary_key=True))

audit_runs = Table(
    "audit_runs",
    metadata,
    _text("run_id", primary_key=True),
    _text("workflow_run_id"),
    _text("parent_run_id", nullable=True),
    _text("agent_id"),
    _text("agent_name"),
    _text("caller_id"),
    _text("tenant_id"),
    _text("channel_id"),
    _big("started_at"),
    _big("deadline_at", nullable=True),
    _big("due_at"),
    _text("status", nullable=True),
    _text("reason", nullable=True),
    _text("closed_by", nullable=True),
    _big("ended_at", nullable=True),
    _big("cost_micro_usd", nullable=True),
    _small("n_close"),
    _small("entries"),
    _text("head"),
    _text("closed_head", nullable=True),
    _small("closed_entries", nullable=True),
)
"""One row a run: where its chain ends, and what queries need of its opening and close."""

audit_entries = Table(
    "audit_entries",
    metadata,
    _text("run_id", primary_key=True),
    _small("seq", primary_key=True),
    _text("entry"),
    _text("key"),
    _text("kind"),
    _text("name"),
    _text("status"),
    _big("at"),
    _text("body"),
    _text("hash"),
    UniqueConstraint("run_id", "entry", "key"),
)
"""The chains: only ever inserted into, and deleted from by a purge."""

audit_purges = Table(
    "audit_purges",
    metadata,
    _text("run_id", primary_key=True),
    _big("purged_at", primary_key=True),
    _big("ended_at"),
    _text("closed_head"),
    _small("entries"),
)
"""What retention removed: no content, but the head that a RunResult may still show."""

budget_caps = Table(
    "budget_caps",
    metadata,
    _text("scope", primary_key=True),
    _text("period", primary_key=True),
    _text("currency", primary_key=True),
    _small("version", primary_key=True),
    _text("verdict"),
    _big("cap", nullable=True),
    _big("set_at"),
    _text("set_by"),
    _text("note"),
)
"""Every version of every cap; the newest holds. `period` is the window (a reserved word)."""

budget_scopes = Table("budget_scopes", metadata, _text("scope", primary_key=True), *_amounts())
"""What a scope used and holds since ever; the row that every reserve locks."""

budget_hours = Table(
    "budget_hours",
    metadata,
    _text("scope", primary_key=True),
    _big("hour", primary_key=True),
    *_amounts(),
)
"""The same by the hour (since 1970) of the reserve: days, months and 168 hours are sums of them."""

budget_runs = Table(
    "budget_runs",
    metadata,
    _text("run_id", primary_key=True),
    _text("workflow_run_id"),
    _text("params"),
    _text("parent_run_id", nullable=True),
    _text("root_run_id"),
    _text("scopes"),
    _big("reserved_at"),
    _big("hour"),
    _big("expires_at"),
    _big("settled_at", nullable=True),
    _small("n_settle"),
    _big("share_ms"),
    _big("share_tokens"),
    _big("share_micro_usd"),
    _big("need_tokens"),
    _big("need_micro_usd"),
    _big("child_ms"),
    _small("lost"),
    _big("before_ms", nullable=True),
)
"""Reservations. `share` is what the run holds, and once settled what it spent; `need` is what its
attempts may cost so far; `before_ms` is runtime that was settled before a reset opened it."""

budget_attempts = Table(
    "budget_attempts",
    metadata,
    _text("run_id", primary_key=True),
    _text("execution_id", primary_key=True),
    _text("step_id", primary_key=True),
    _big("attempt", primary_key=True),
    _text("params"),
    _text("state"),
    _big("estimate_tokens"),
    _big("estimate_micro_usd"),
    _big("actual_tokens", nullable=True),
    _big("actual_micro_usd", nullable=True),
    _big("at"),
)
"""Paid calls, written before they are made: started, metered or lost."""

budget_overruns = Table(
    "budget_overruns",
    metadata,
    _text("run_id", primary_key=True),
    _text("cause", primary_key=True),
    _text("currency", primary_key=True),
    _big("excess"),
    _big("at"),
)
"""What was spent beyond its hold: it explains use above a cap."""

dead_letters = Table(
    "dead_letters",
    metadata,
    _text("id", primary_key=True),
    _text("run_id"),
    _text("target"),
    _text("status"),
    _small("attempts"),
    _text("error"),
    _small("status_code", nullable=True),
    _big("failed_at"),
    _big("delivered_at", nullable=True),
    _big("claimed_until"),
    _text("item", nullable=True),
)
"""Deliveries that did not land. `item` is what to send, gone once it was delivered."""
