"""The database of records and money, as commands open it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

from executus.cli.text import LINE
from executus.errors import ConfigError, SchemaError
from executus.settings import load_settings
from executus.stores.database import Database, parse_url
from executus.stores.dialects import bring_up, in_memory

T = TypeVar("T")

database_option = click.option(
    "--database",
    metavar="URL",
    type=LINE,
    envvar="EXECUTUS_DATABASE",
    help="sqlite:///file or postgresql://..., instead of EXECUTUS_DATABASE_URL.",
)


def open_database(url: str | None, *, migrate: bool = True) -> Database:
    """The database that is named, or the one that the settings say.

    Our own file in the data folder is ours to set up; one that somebody named is not.

    Raises:
        ConfigError: it is in memory, so it would be gone with the command.
    """
    settings = load_settings()
    named = url is not None or settings.database_url is not None
    if named and migrate:
        _check_there(url or settings.database)
    database = Database(url or settings.database, auto_migrate=migrate and not named)
    if database.in_memory:
        raise ConfigError(
            f"{database.location} is in memory, and gone with this command: give a file, as in "
            "--database sqlite:///path/to/file.db"
        )
    return database


def _check_there(url: str) -> None:
    """Refuse a file that is not there: to look at a mistyped path would make a database of it."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or in_memory(parsed) or not parsed.database:
        return
    if not parsed.database.startswith("file:") and not Path(parsed.database).exists():
        text = f"there is no database file {parsed.database}: {bring_up(parsed)} to make it"
        raise SchemaError(text)


def tell_more(found: Sequence[object], limit: int) -> None:
    """Say on stderr that a list was cut: one more than `limit` was asked for."""
    if len(found) > limit:
        click.echo(f"there are more than these {limit:,}: --limit N shows N", err=True)


def with_database(url: str | None, work: Callable[[Database], Awaitable[T]]) -> T:
    """Run `work` over the database, and close it."""

    async def run() -> T:
        database = open_database(url)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())
