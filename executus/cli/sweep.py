"""`executus sweep`: close the records of runs that died, and settle their holds."""

import asyncio
import os
import secrets
from contextlib import AsyncExitStack
from datetime import timedelta

import click
from click.core import ParameterSource
from temporalio.client import Client, Plugin
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.plugin import SimplePlugin

from executus.audit import AuditClose, AuditReceipt
from executus.cli import exit as codes
from executus.cli.compose import Composition, deliveries, load_app
from executus.cli.place import open_place
from executus.cli.records import database_option, open_database
from executus.cli.span import SPAN
from executus.cli.text import LINE
from executus.connect import connect, load_profile
from executus.sanitize import clean_line
from executus.settings import Settings, load_settings
from executus.status import Reason
from executus.stores.database import Database
from executus.stores.redaction import Policy
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from executus.stores.sql_letters import SqlLetters
from executus.sweeper import SweepActivities, Sweeper
from executus.sweeper_delivery import SweptDelivery
from executus.sweeper_schedule import install
from executus.sweeper_schedule import uninstall as uninstall_schedule
from executus.sweeper_workflow import SCHEDULE_ID, SweepInput, SweepReport

LONGEST = timedelta(days=1)
"""Temporal keeps the history of a run that is over for a day at least, and maybe no longer."""
WITHHELD = "withheld: `executus sweep` was not told of the host (--app), which may forbid this text"
TOLD_BY_TEMPORAL = frozenset({Reason.TERMINATED, Reason.BACKSTOP})
"""What became of such a run is in Temporal's words and not in the run's."""


class StrangersAudit(SqlAudit):
    """Writes about runs of a host whose policy is not known: never more than any would allow.

    Of content it keeps the length, and a digest under a key that nobody keeps: a plain one would
    tell a short secret to who guesses, which `Policy.digest_key` may be there against.
    """

    def __init__(self, database: Database) -> None:
        key = secrets.token_bytes(32)
        super().__init__(database, policy=Policy(content="digest", digest_key=key))

    async def close(self, closing: AuditClose) -> AuditReceipt:
        """See base class. A policy does not reach the error: the host's redactor would."""
        if closing.error is not None and closing.reason not in TOLD_BY_TEMPORAL:
            closing = closing.model_copy(update={"error": WITHHELD})
        return await super().close(closing)


@click.command()
@click.option("--install", "on_schedule", is_flag=True, help="Let a Temporal Schedule do it.")
@click.option("--uninstall", is_flag=True, help="Forget that Temporal Schedule.")
@click.option(
    "--every", type=SPAN, default="1m", show_default=True, help="With --install: 1s to 1d."
)
@click.option("--grace", type=SPAN, default="60s", show_default=True, help="Let runs close alone.")
@click.option(
    "--lost-after", type=SPAN, default="1d", show_default=True, help="Give up on unknown runs."
)
@click.option("--all", "everything", is_flag=True, help="Also runs whose time is not over.")
@click.option(
    "--app",
    metavar="MODULE:ATTR",
    type=LINE,
    help="The ExecutusPlugin whose stores, policy and delivery.",
)
@database_option
@click.pass_context
def sweep(
    context: click.Context,
    *,
    on_schedule: bool,
    uninstall: bool,
    every: timedelta,
    grace: timedelta,
    lost_after: timedelta,
    everything: bool,
    app: str | None,
    database: str | None,
) -> int:
    """Ask Temporal what became of runs whose time is over.

    Terminated and timed-out runs ran no cleanup: their records are closed with that truth and
    their holds settled. A live run is never touched; a stuck one is reported. Exits with 1 when
    something is stuck or could not be asked. With --install a worker does it on a schedule.
    Without --app no content of a run is written: its host's policy may forbid it.
    """
    if uninstall:
        _check_alone(context)
        return asyncio.run(_uninstall(load_settings()))
    _check(context, every, on_schedule=on_schedule)
    asked = SweepInput(
        grace=grace.total_seconds(),
        lost_after=lost_after.total_seconds(),
        everything=everything,
    )
    settings = load_settings()
    if on_schedule:
        return asyncio.run(_install(settings, every, asked))
    if app is not None:
        return asyncio.run(_sweep_app(settings, load_app(app, settings), asked))
    return asyncio.run(_sweep(settings, database, asked))


def _check_alone(context: click.Context) -> None:
    """Refuse options that --uninstall has no use for."""
    commandline = ParameterSource.COMMANDLINE
    typed = {name for name in context.params if context.get_parameter_source(name) is commandline}
    if typed != {"uninstall"}:
        raise click.UsageError("--uninstall takes no other option")


def _check(context: click.Context, every: timedelta, *, on_schedule: bool) -> None:
    """Refuse what would say nothing: a schedule sweeps what its workers record."""
    typed = {
        name
        for name in ("every", "database", "app")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if on_schedule and not every:
        raise click.UsageError("--every must be longer than nothing")
    if on_schedule and every > LONGEST:
        raise click.UsageError(
            "--every is a day (1d) at most: Temporal forgets what became of a run, after a day or "
            "more, and then nobody can tell"
        )
    if on_schedule and "database" in typed:
        raise click.UsageError(
            "a schedule sweeps the database of the workers that it runs on, so --install takes no "
            "--database: set EXECUTUS_DATABASE_URL where they start"
        )
    if on_schedule and "app" in typed:
        raise click.UsageError("a schedule sweeps as its workers do: --install takes no --app")
    if {"app", "database"} <= typed:
        raise click.UsageError("--app sweeps the app's own database: leave --database out")
    if not on_schedule and "every" in typed:
        raise click.UsageError("--every goes with --install; without it one sweep is made")


async def _sweep(settings: Settings, url: str | None, asked: SweepInput) -> int:
    async with AsyncExitStack() as stack:
        client = await plain_client(stack, settings)
        database = open_database(url)
        stack.push_async_callback(database.close)
        # Settling needs no cap, so what the budget's host says about missing ones does not matter.
        audit = StrangersAudit(database)
        delivery = SweptDelivery(deliveries(settings, os.environ), SqlLetters(database), audit)
        sweeper = Sweeper(client, audit, SqlBudget(database), delivery=delivery)
        return _tell(await sweeper.sweep(asked))


async def _sweep_app(settings: Settings, composition: Composition, asked: SweepInput) -> int:
    async with AsyncExitStack() as stack:
        stack.push_async_callback(composition.close)
        plugin = composition.plugin
        client = await plain_client(stack, settings, plugin)
        return _tell(await SweepActivities(plugin.host.ports).sweeper(client).sweep(asked))


async def _install(settings: Settings, every: timedelta, asked: SweepInput) -> int:
    async with AsyncExitStack() as stack:
        client = await plain_client(stack, settings)
        created = await install(client, settings.task_queue, every, asked)
        what = "created" if created else "updated"
        click.echo(
            f"schedule {SCHEDULE_ID} {what}: every {every} on task queue {settings.task_queue}; "
            "`executus sweep --uninstall` takes it back"
        )
    warn_of_own_server()
    return codes.OK


async def _uninstall(settings: Settings) -> int:
    async with AsyncExitStack() as stack:
        gone = await uninstall_schedule(await plain_client(stack, settings))
    click.echo(f"schedule {SCHEDULE_ID} {'removed' if gone else 'is not there'}")
    return codes.OK


def warn_of_own_server() -> None:
    """Tell who made a schedule that an embedded server does not go on by itself."""
    if not load_profile().address:
        click.echo(
            "this folder's own server runs only while a command does: keep `executus worker --dev`"
            " running",
            err=True,
        )


async def plain_client(
    stack: AsyncExitStack, settings: Settings, plugin: Plugin | None = None
) -> Client:
    """A client that reads what runs say, as the host's `plugin` does or without a host."""
    place = await stack.enter_async_context(open_place(settings))
    plugin = plugin or SimplePlugin("executus.Sweep", data_converter=pydantic_data_converter)
    return await connect(place.profile, plugins=[plugin], seconds=settings.connect_seconds)


def _tell(report: SweepReport) -> int:
    for run in report.swept:
        done = [name for name in ("closed", "settled", "delivered") if getattr(run, name)]
        done += ["kept as a dead letter"] if run.kept else []
        name = clean_line(run.run_id, 160)
        click.echo(f"{name}: {run.status}/{run.reason}, {' and '.join(done)}")
    for name in report.stuck:
        click.echo(f"STUCK {clean_line(name, 160)}: its workflow task fails again and again")
    for line in report.failed:
        click.echo(f"FAILED {clean_line(line, 300)}")
    if unnamed := max(0, report.failed_total - len(report.failed)):
        click.echo(f"FAILED {unnamed:,} more")
    click.echo(
        f"looked at {report.looked}: {len(report.swept)} swept, {report.live} live, "
        f"{report.waiting} left for the next sweep"
    )
    if report.cut:
        click.echo("a sweep does no more than that; there may be more: sweep again", err=True)
    return codes.FAILED if report.stuck or report.failed else codes.OK
