"""`executus server`: the embedded server on its own, so that past runs can be looked at."""

import asyncio

import click

from executus.cli.signals import stop_event
from executus.server import EmbeddedServer
from executus.settings import Settings, load_settings


@click.command()
def server() -> None:
    """Keep this folder's Temporal server and its UI open until Ctrl-C.

    Other executus commands in the folder use it too; its data stays in EXECUTUS_DATA_DIR.
    """
    asyncio.run(_serve(load_settings()))


async def _serve(settings: Settings) -> None:
    async with EmbeddedServer(settings.data_dir, ui_port=settings.ui_port) as embedded:
        click.echo(f"temporal  {embedded.address}  (export TEMPORAL_ADDRESS={embedded.address})")
        click.echo(f"ui        {embedded.ui_url}")
        await stop_event().wait()
        click.echo("stopping", err=True)
