"""`executus audit`: show, prove and forget what runs did."""

import json
from datetime import UTC, datetime, timedelta

import click

from executus.audit import AuditEntry, AuditProof, AuditPurged, AuditRun
from executus.cli import exit as codes
from executus.cli.records import database_option, tell_more, with_database
from executus.cli.span import SPAN
from executus.cli.text import ID, NAME
from executus.errors import RequestError
from executus.sanitize import clean_line
from executus.stores.database import Database
from executus.stores.sql_audit import SqlAudit

MAX_LINE = 160
"""Characters of one printed value."""


@click.group()
def audit() -> None:
    """Show and verify what runs did."""


@audit.command()
@click.argument("run", required=False, type=ID)
@click.option(
    "--head",
    metavar="HASH",
    type=NAME,
    help="The `audit_head` of the run's result, kept elsewhere.",
)
@database_option
def verify(*, run: str | None, head: str | None, database: str | None) -> int:
    """Prove that nothing was changed, of one RUN or of all.

    Names the first place of each run that does not hold together, and exits with 1. With --head
    it also proves that the record is the one whose head the run's result showed.
    """
    if head is not None and run is None:
        raise click.UsageError("--head needs a RUN")

    async def work(store: Database) -> tuple[AuditProof, list[str], AuditPurged | None]:
        records, name = SqlAudit(store), run or ""
        proof = await records.verify(run)
        return proof, await records.closed_heads(name), await records.purged(name)

    proof, heads, gone = with_database(database, work)
    if run is not None and proof.runs == 0:
        if gone is None:
            raise RequestError(f"no record of run `{run}`")
        click.echo(_gone(gone))
        heads = [gone.head]
    for found in proof.breaks:
        place = "the run's row" if found.seq is None else f"entry {found.seq}"
        click.echo(f"BROKEN {clean_line(found.run_id, MAX_LINE)}: {place}: {found.what}")
    if head is not None and head not in heads:
        given, closed = clean_line(head, MAX_LINE), heads[0] if heads else "none (it has no close)"
        click.echo(f"BROKEN {run}: its head is {closed}, not {given}")
        return codes.FAILED
    if head is not None and head != heads[0]:
        click.echo(f"{run} was reset since: {clean_line(head, MAX_LINE)} is its earlier head")
    if proof.ok and (run is None or proof.runs):
        click.echo(f"ok: {proof.runs} runs, {proof.entries} entries")
    return codes.OK if proof.ok else codes.FAILED


@audit.command()
@click.argument("run", type=ID)
@click.option("--json", "as_json", is_flag=True, help="Every entry as one line of JSON.")
@database_option
def show(*, run: str, as_json: bool, database: str | None) -> None:
    """Show the record of one RUN, entry by entry."""

    async def work(
        store: Database,
    ) -> tuple[AuditRun | None, list[AuditEntry], AuditPurged | None]:
        records = SqlAudit(store)
        return await records.run(run), await records.rows(run), await records.purged(run)

    record, entries, gone = with_database(database, work)
    if record is None:
        raise RequestError(_gone(gone) if gone else f"no record of run `{run}`")
    if as_json:
        for entry in entries:
            click.echo(entry.model_dump_json())
        return
    click.echo(_line(record))
    for entry in entries:
        kind = entry.kind or ("" if entry.entry == entry.name else entry.entry)
        name = " ".join(part for part in (kind, entry.name, entry.status) if part)
        key = entry.key.partition("@")[0]
        click.echo(f"  {entry.seq:>4} {entry.at:%H:%M:%S} {key:<12} {name}{_marks(entry)}")
        for key, value in entry.body.items():
            if value not in (None, "", [], {}):
                click.echo(f"         {key}: {clean_line(json.dumps(value), MAX_LINE)}")


@audit.command("list")
@click.option("--caller", metavar="ID", type=NAME, help="Only runs of this caller.")
@click.option("--agent", metavar="ID", type=NAME, help="Only runs of this agent id.")
@click.option("--open", "open_only", is_flag=True, help="Only runs that are not closed.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@database_option
def list_runs(
    *, caller: str | None, agent: str | None, open_only: bool, limit: int, database: str | None
) -> None:
    """List runs, the newest first."""

    async def work(store: Database) -> list[AuditRun]:
        return await SqlAudit(store).runs(
            caller_id=caller, agent_id=agent, open_only=open_only, limit=limit + 1
        )

    found = with_database(database, work)
    for record in found[:limit]:
        click.echo(_line(record))
    tell_more(found, limit)
    if not found:
        click.echo("no runs", err=True)


@audit.command()
@click.option("--older-than", required=True, type=SPAN, help="Such as 90d, 12h, 30m.")
@database_option
def purge(*, older_than: timedelta, database: str | None) -> None:
    """Remove closed runs that ended longer ago; open ones stay.

    Of each run one row stays, with the head of its chain and no content.
    """
    cut = datetime.now(UTC) - older_than

    async def work(store: Database) -> int:
        return await SqlAudit(store).purge(cut)

    click.echo(f"removed {with_database(database, work)} runs that ended before {cut:%F %T} UTC")


def _gone(gone: AuditPurged) -> str:
    """What is left of a purged run."""
    return (
        f"{gone.run_id} was purged {gone.purged_at:%F %T}: it ended {gone.ended_at:%F %T} with "
        f"{gone.entries} entries and the head {gone.head}"
    )


def _marks(entry: AuditEntry) -> str:
    """What is to be known of an entry before it is believed."""
    by = f" by {clean_line(entry.execution, MAX_LINE)}" if entry.execution else ""
    late = " LATE" if entry.late else ""
    at = entry.superseded_at
    return f"{by}{late}" + ("" if at is None else f" SUPERSEDED by the reset of {at:%F %T}")


def _line(record: AuditRun) -> str:
    state = "open" if record.status is None else f"{record.status}/{record.reason}"
    by = " (sweeper)" if record.closed_by == "sweeper" else ""
    beyond = 0 if record.closed_entries is None else record.entries - record.closed_entries
    late = f", {beyond} late" if beyond else ""
    who = clean_line(f"{record.agent_name} for {record.caller_id}", MAX_LINE)
    start = f"{record.started_at:%F %T}"
    return f"{start}  {record.run_id}  {state}{by}  {who}  {record.entries} entries{late}"
