"""The database of records and money, as commands open it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from executus.cli.text import LINE
from executus.errors import ConfigError
from executus.settings import load_settings
from executus.stores.database import Database

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
    database = Database(url or settings.database, auto_migrate=migrate and not named)
    if database.in_memory:
        raise ConfigError(
            f"{database.location} is in memory, and gone with this command: give a file, as in "
            "--database sqlite:///path/to/file.db"
        )
    return database


def with_database(url: str | None, work: Callable[[Database], Awaitable[T]]) -> T:
    """Run `work` over the database, and close it."""

    async def run() -> T:
        database = open_database(url)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())
