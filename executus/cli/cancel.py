"""`executus cancel`: stop a run gracefully."""

import asyncio
from contextlib import AsyncExitStack

import click
from temporalio.service import RPCError

from executus.cli import exit as codes
from executus.cli.sweep import plain_client
from executus.cli.text import ANY_TEXT, ID, NAME
from executus.cli.user import user
from executus.result import RunResult
from executus.runs import Runs
from executus.settings import Settings, load_settings
from executus.updates import refused


@click.command()
@click.argument("run_id", metavar="RUN", type=ID)
@click.argument("reason", required=False, default="", type=ANY_TEXT)
@click.option("--wait", is_flag=True, help="Until the run has closed.")
@click.option(
    "--as", "by", metavar="NAME", type=NAME, help="Who stops it; the user's name otherwise."
)
def cancel(*, run_id: str, reason: str, wait: bool, by: str | None) -> int:
    """Stop a run: it closes with status `cancelled` and what it has so far.

    Who stopped it, and the REASON, stand in its result and its record.
    """
    result = asyncio.run(_cancel(load_settings(), run_id, reason, by or user(), wait))
    if result is None:
        click.echo(f"{run_id}: asked to stop")
    else:
        click.echo(f"{run_id}: {result.status.value}/{result.reason.value}")
    return codes.OK


async def _cancel(
    settings: Settings, run_id: str, reason: str, by: str, wait: bool
) -> RunResult | None:
    async with AsyncExitStack() as stack:
        runs = Runs(await plain_client(stack, settings))
        try:
            await runs.cancel(run_id, reason, by=by)
        except RPCError as error:
            raise refused(run_id, error) from None
        return await runs.result(run_id) if wait else None
