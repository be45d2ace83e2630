"""`executus deliveries`: outcomes that did not reach their receiver."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import click
from click.core import ParameterSource
from pydantic import SecretStr

from executus.cli import exit as codes
from executus.cli.compose import Composition, compose, load_app
from executus.cli.records import database_option, tell_more, with_database
from executus.cli.span import SPAN
from executus.cli.text import ID, LINE
from executus.errors import ConfigError, RequestError, StoreError
from executus.letter import DeadLetter
from executus.ports import DeadLetters
from executus.redelivery import Redelivered, Redelivery
from executus.sanitize import clean_line
from executus.settings import load_settings
from executus.stores.database import Database
from executus.stores.sql_letters import SqlLetters

MAX_LINE = 160
"""Characters of one printed value."""
PAGE = 200
"""Letters read at a time to be sent."""


@click.group(invoke_without_command=True)
@click.option("--all", "everything", is_flag=True, help="Also those that were delivered later.")
@click.option("--limit", default=1_000, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--json", "as_json", is_flag=True, help="Each as one line of JSON, content included.")
@database_option
@click.pass_context
def deliveries(
    context: click.Context, *, everything: bool, limit: int, as_json: bool, database: str | None
) -> None:
    """List outcomes that did not reach their receiver, the oldest first."""
    if context.invoked_subcommand is not None:
        _refuse_typed(context, context.invoked_subcommand)
        return

    async def work(store: Database) -> list[DeadLetter]:
        return await SqlLetters(store).letters(delivered=everything, limit=limit + 1)

    letters = with_database(database, work)
    for letter in letters[:limit]:
        click.echo(letter.model_dump_json() if as_json else _line(letter))
    tell_more(letters, limit)
    if not letters:
        click.echo("no deliveries failed" if everything else "nothing waits", err=True)


@deliveries.command()
@click.argument("run", required=False, type=ID)
@click.option("--all", "everything", is_flag=True, help="All that wait.")
@click.option(
    "--app", metavar="MODULE:ATTR", type=LINE, help="The ExecutusPlugin whose delivery is used."
)
@database_option
@click.pass_context
def retry(
    context: click.Context,
    *,
    run: str | None,
    everything: bool,
    app: str | None,
    database: str | None,
) -> int:
    """Deliver what is left of one RUN again, or --all.

    Each has the id it had before, so a receiver that got it after all knows it. Two of these
    commands at once send nothing twice. Exits with 1 when something did not land.
    """
    if (run is None) != everything:
        raise click.UsageError("give a RUN, or --all")
    if app is not None and "database" in _typed(context):
        raise click.UsageError("--app has Ports of its own that say where: no --database with it")
    settings = load_settings()
    if database is not None:
        settings = settings.model_copy(update={"database_url": SecretStr(database)})
    composition = load_app(app, settings) if app is not None else compose(settings)
    tried, failed = asyncio.run(_retry(composition, run))
    if run is not None and not tried:
        raise RequestError(f"nothing waits to be delivered of run `{run}`")
    return codes.FAILED if failed else codes.OK


@deliveries.command()
@click.argument("run", required=False, type=ID)
@click.option("--older-than", type=SPAN, help="Such as 30d: what failed last before that.")
@database_option
def drop(*, run: str | None, older_than: timedelta | None, database: str | None) -> None:
    """Forget what is left of one RUN, or what is --older-than; nothing is delivered."""
    if (run is None) == (older_than is None):
        raise click.UsageError("give a RUN, or --older-than")
    before = None if older_than is None else datetime.now(UTC) - older_than

    async def work(store: Database) -> int:
        return await SqlLetters(store).drop(run, before=before)

    many = with_database(database, work)
    if run is not None and not many:
        raise RequestError(f"nothing is left of run `{run}`; `executus deliveries --all` lists all")
    click.echo(f"forgot {many}")


def _typed(context: click.Context) -> list[str]:
    """Names of the options that were typed, as opposed to those of the environment."""
    typed = ParameterSource.COMMANDLINE
    return [name for name in context.params if context.get_parameter_source(name) is typed]


def _refuse_typed(context: click.Context, subcommand: str) -> None:
    """Refuse options of the list before a subcommand: it would not have heard of them."""
    typed = set(_typed(context))
    options = [option for option in context.command.params if option.name in typed]
    if options:
        names = ", ".join(option.opts[0] for option in options)
        raise click.UsageError(
            f"{names} before `{subcommand}` is for the list: write the options of `{subcommand}` "
            f"behind it (executus deliveries {subcommand} --help)"
        )


async def _retry(composition: Composition, run: str | None) -> tuple[int, int]:
    """Send each letter that waits, and say at once what came of it: how many, how many failed."""
    try:
        ports = composition.plugin.host.ports
        if ports.delivery is None or ports.letters is None:
            raise ConfigError("the app's Ports have no `delivery` and `letters`")
        redelivery = Redelivery(ports.delivery, ports.letters, ports.audit)
        tried = failed = 0
        async for letter in _waiting(ports.letters, run):
            try:
                result = await redelivery.send(letter)
            except StoreError as failure:  # the rest would fail alike
                _say(Redelivered(letter, error=str(failure)))
                return tried + 1, failed + 1
            _say(result)
            tried, failed = tried + 1, failed + (result.error is not None)
        return tried, failed
    finally:
        await composition.close()


async def _waiting(letters: DeadLetters, run: str | None) -> AsyncGenerator[DeadLetter]:
    """Every letter that waits, once, a page at a time: a letter may have 256 KB.

    What was sent in vain, or somebody else is sending, waits still, and may stand in front.
    """
    seen: set[str] = set()
    page = PAGE
    while True:
        found = await letters.letters(run, limit=page)
        fresh = [letter for letter in found if letter.id not in seen]
        if not fresh and len(found) < page:
            return
        page *= 1 if fresh else 2
        for letter in fresh:
            seen.add(letter.id)
            yield letter


def _say(result: Redelivered) -> None:
    """Tell of one. That nobody reads along (`| head`) keeps no letter from being sent."""
    with contextlib.suppress(BrokenPipeError):
        click.echo(_told(result))


def _told(result: Redelivered) -> str:
    letter = result.letter
    name = f"{clean_line(letter.run_id, MAX_LINE)} to {letter.target}"
    if result.receipt is not None:
        return f"delivered {name}, attempt {result.receipt.attempts}"
    if result.error is not None:
        return f"FAILED    {name}: {result.error}"
    return f"left      {name}: somebody else delivers it, or has"


def _line(letter: DeadLetter) -> str:
    run_id = clean_line(letter.run_id, MAX_LINE)
    fate = letter.error if letter.delivered_at is None else f"delivered {letter.delivered_at:%F %T}"
    many = f"{letter.attempts} attempt{'' if letter.attempts == 1 else 's'}"
    when = f"{letter.failed_at:%F %T}"
    return f"{when}  {run_id}  {letter.status}  {letter.target}  {many}: {fate}"
