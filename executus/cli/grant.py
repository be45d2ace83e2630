"""`executus budget grant`: raise the limits of a run while it runs."""

import asyncio
from contextlib import AsyncExitStack

import click
from temporalio.service import RPCError

from executus.cli import exit as codes
from executus.cli.number import POSITIVE
from executus.cli.reach import check_served
from executus.cli.sweep import plain_client
from executus.cli.text import ID
from executus.cli.user import user
from executus.critic import MAX_STEPS
from executus.errors import UserError
from executus.runs import Runs
from executus.settings import Settings, load_settings
from executus.state import LiveState
from executus.updates import refused

MICRO = 1_000_000
"""Micro-USD in a US dollar."""


@click.command("grant")
@click.argument("run_id", metavar="RUN", type=ID)
@click.option("--tokens", type=click.IntRange(min=1), help="The new limit: input plus output.")
@click.option("--usd", type=POSITIVE, help="The new limit.")
@click.option("--iterations", type=click.IntRange(1, MAX_STEPS), help="The new limit: model turns.")
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


def _check(
    state: LiveState, tokens: int | None, micro_usd: int | None, iterations: int | None
) -> None:
    """Refuse what raises nothing, in the options' own words and units; the run would, in its own.

    Raises:
        UserError: a run has no such limit, or has one as high already.
    """
    if not state.max_iterations:  # its plan is not there yet, nor its limits
        return
    turns = None if state.phase else iterations  # turns of a phase: the run says that
    for option, new, old, shown in (
        ("--tokens", tokens, state.tokens_limit, str(state.tokens_limit)),
        ("--usd", micro_usd, state.micro_usd_limit, _usd(state.micro_usd_limit)),
        ("--iterations", turns, state.max_iterations, str(state.max_iterations)),
    ):
        if new is None:
            continue
        if old is None:
            raise UserError(f"run {state.run_id} has no limit to raise by {option}")
        if new <= old:
            raise UserError(f"run {state.run_id}: {option} is not above the present limit, {shown}")


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
            await check_served(client, settings, run_id)
            runs = Runs(client)
            _check(await runs.state(run_id), tokens, micro_usd, iterations)
            return await runs.raise_limits(
                run_id,
                tokens=tokens,
                micro_usd=micro_usd,
                iterations=iterations,
                by=user(),
            )
        except RPCError as error:
            raise refused(run_id, error) from None
