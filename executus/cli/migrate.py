"""`executus migrate`: bring the database's schema up."""

import asyncio

import click

from executus.cli.records import database_option, open_database
from executus.settings import load_settings
from executus.stores.database import parse_url
from executus.stores.migrations import script


@click.command()
@database_option
@click.option("--print", "show", is_flag=True, help="Print all of the SQL and change nothing.")
def migrate(*, database: str | None, show: bool) -> None:
    """Create or upgrade the tables of records and money.

    Steps are only ever added; running it again, or twice at the same time, does no harm.
    """
    if show:
        backend = parse_url(database or load_settings().database).get_backend_name()
        click.echo(script(backend), nl=False)
        return
    asyncio.run(_migrate(database))


async def _migrate(url: str | None) -> None:
    store = open_database(url, migrate=False)
    try:
        applied = await store.migrate()
    finally:
        await store.close()
    done = f"applied {', '.join(applied)}" if applied else "is up to date"
    click.echo(f"{store.location}: {done}")
