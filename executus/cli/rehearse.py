"""See before a schedule is made whether its runs could start: nobody watches the first one."""

import os

import click

from executus.activities.conversation import Conversations
from executus.activities.resolve import Resolve
from executus.cli.compose import deliveries, load_app
from executus.contracts import ResolveInput
from executus.errors import ConfigError
from executus.request import RunRequest
from executus.sanitize import clean_line
from executus.settings import Settings
from executus.status import Reason

PASSING = frozenset({Reason.MCP_UNAVAILABLE})
"""May be better when a run starts."""


async def rehearse(request: RunRequest, app: str | None, settings: Settings) -> None:
    """Let the app plan the run as its workers will; without one, say what can be known here.

    Raises:
        ConfigError: the app would refuse the run.
    """
    if app is None:
        _warn(request, settings)
        return
    composition = load_app(app, settings)
    host = composition.plugin.host
    asked = ResolveInput(
        agent=request.agent,
        caller_id=request.invocation.caller_id,
        delivery=request.invocation.delivery,
    )
    try:
        async with host.mcp.serving():
            refusal = (await Resolve(host, Conversations()).resolve(asked)).refusal
    except Exception as error:  # noqa: BLE001 - a palette of the host's own: whatever it raises
        text = clean_line(f"could not be planned: {type(error).__name__}: {error}", 500)
        raise ConfigError(f"--app {app}: {text}") from None
    finally:
        await composition.close()
    if refusal is not None and refusal.reason not in PASSING:
        raise ConfigError(f"--app {app} would refuse each run: {refusal.message}")
    if refusal is not None:
        click.echo(f"warning   {refusal.message}", err=True)


def _warn(request: RunRequest, settings: Settings) -> None:
    """A name that this process does not know, the workers may: they have settings of their own."""
    target = request.invocation.delivery
    problem = target and deliveries(settings, os.environ).problem(target)
    if problem:
        click.echo(
            f"warning   not known here, and only the workers' settings count: {problem}; "
            "--app checks, and `executus schedule list` tells how the last run ended",
            err=True,
        )
