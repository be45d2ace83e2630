"""`executus budget grant`: raise the limits of a run while it runs."""

import asyncio
from contextlib import AsyncExitStack

import click
from temporalio.service import RPCError

from executus.cli import exit as codes
from executus.cli.number import POSITIVE
from executus.cli.sweep import plain_client
from executus.cli.user import user
from executus.errors import UserError
from executus.runs import Runs
from executus.settings import Settings, load_settings
from executus.state import LiveState

MICRO = 1_000_000
"""Micro-USD in a US dollar."""


@click.command("grant")
@click.argument("run_id", metavar="RUN")
@click.option("--tokens", type=click.IntRange(min=1), help="The new limit: input plus output.")
@click.option("--usd", type=POSITIVE, help="The new limit.")
@click.option("--iterations", type=click.IntRange(min=1), help="The new limit: model turns.")
def grant(*, run_id: str, tokens: int | None, usd: float | None, iterations: int | None) -> int:
    """Raise the limits of a running run; one that paused at them goes on.

    They are the run's own (those of its agent), not the caps of its caller: for those
    there is `executus budget raise`.
    """
    if tokens is None and usd is None and iterations is None:
        raise click.UsageError("give the new limit: --tokens, --usd or --iterations")
    settings = load_settings()
    micro_usd = None if usd is None else max(1, round(usd * MICRO))
    state = asyncio.run(_grant(settings, run_id, tokens, micro_usd, iterations))
    spent = "?" if state.cost_micro_usd is None else f"{state.cost_micro_usd / MICRO:.6f}"
    click.echo(
        f"{run_id}: {state.stage}, {state.usage.total_tokens} of "
        f"{state.tokens_limit or 'unlimited'} tokens, ${spent} of "
        f"{_usd(state.micro_usd_limit)}, turn {state.iteration} of {state.max_iterations}"
    )
    return codes.OK


def _usd(micro_usd: int | None) -> str:
    return "unlimited" if micro_usd is None else f"${micro_usd / MICRO:.6f}"


async def _grant(
    settings: Settings,
    run_id: str,
    tokens: int | None,
    micro_usd: int | None,
    iterations: int | None,
) -> LiveState:
    async with AsyncExitStack() as stack:
        client = await plain_client(stack, settings)
        try:
            return await Runs(client).raise_limits(
                run_id,
                tokens=tokens,
                micro_usd=micro_usd,
                iterations=iterations,
                by=user(),
            )
        except RPCError as error:
            raise UserError(f"run {run_id}: {error.message}") from None
