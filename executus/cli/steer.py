"""`executus steer`: say something to a running agent."""

import asyncio
from contextlib import AsyncExitStack

import click
from temporalio.service import RPCError

from executus.cli import exit as codes
from executus.cli.reach import check_served
from executus.cli.sweep import plain_client
from executus.cli.text import ID, NAME, TEXT
from executus.cli.user import user
from executus.runs import Runs
from executus.settings import Settings, load_settings
from executus.steer import MAX_STEER_BYTES, SteerReceipt
from executus.updates import refused


@click.command()
@click.argument("run_id", metavar="RUN", type=ID)
@click.argument("text", type=TEXT)
@click.option("--wait", is_flag=True, help="Until the message was delivered, or never will be.")
@click.option(
    "--as", "by", metavar="NAME", type=NAME, help="Who says it; the user's name otherwise."
)
def steer(*, run_id: str, text: str, wait: bool, by: str | None) -> int:
    """Say TEXT to a running agent: a user message before its next model call.

    With --wait the exit code is 1 when the run ended before it could hear it.
    """
    if (size := len(text.encode())) > MAX_STEER_BYTES:
        note = f"TEXT has {size:,} bytes; of more than {MAX_STEER_BYTES:,} head and tail are said"
        click.echo(note, err=True)
    settings = load_settings()
    receipt = asyncio.run(_steer(settings, run_id, text, by or user(), wait))
    if receipt is None:
        click.echo(f"{run_id}: sent")
        return codes.OK
    if not receipt.delivered:
        click.echo(f"{run_id}: not delivered: {receipt.why}")
        return codes.FAILED
    when = f"with model turn {receipt.iteration}" if receipt.iteration else receipt.why
    click.echo(f"{run_id}: delivered {when}")
    return codes.OK


async def _steer(
    settings: Settings, run_id: str, text: str, by: str, wait: bool
) -> SteerReceipt | None:
    async with AsyncExitStack() as stack:
        client = await plain_client(stack, settings)
        try:
            if wait:
                await check_served(client, settings, run_id)
                return await Runs(client).steer_and_wait(run_id, text, by=by)
            await Runs(client).steer(run_id, text, by=by)
        except RPCError as error:
            raise refused(run_id, error) from None
        return None
