"""`executus schedule`: start agent runs at set times."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import click
from temporalio.client import Client

from executus.backstop import Backstop
from executus.cli import exit as codes
from executus.cli.checked import checked
from executus.cli.compose import agents_option, with_agents
from executus.cli.reach import last_ending
from executus.cli.rehearse import rehearse
from executus.cli.run import PRIORITY, choose_agent, parse_target
from executus.cli.span import SPAN
from executus.cli.sweep import plain_client, warn_of_own_server
from executus.cli.text import LINE, TEXT, Text
from executus.cli.text import NAME as BY
from executus.invocation import Invocation
from executus.limits import Defaults
from executus.request import RunRequest
from executus.schedules import (
    MAX_NAME,
    OVERLAPS,
    PAUSED,
    RESUMED,
    Overlap,
    Scheduled,
    Schedules,
    Times,
)
from executus.settings import Settings, load_settings
from executus.sweeper_schedule import installed
from executus.sweeper_workflow import SCHEDULE_ID

MAX_CHANNEL = 255
NAME = click.argument("name", metavar="NAME", type=Text(most=MAX_NAME, controls=False))
NOTE = click.option(
    "--note", default="", type=Text(blank=True, controls=False), help="Why; shown in the list."
)


@click.group("schedule")
def schedule() -> None:
    """Start agent runs at set times, by Temporal Schedules."""


@schedule.command("add")
@NAME
@click.argument("prompt", type=TEXT)
@click.option(
    "--cron", multiple=True, metavar="EXPR", type=LINE, help='As in "0 9 * * 1-5"; repeatable.'
)
@click.option("--every", type=SPAN, metavar="SPAN", help="As in 15m, 6h, 1d.")
@click.option("--zone", default="UTC", show_default=True, type=LINE, help="Time zone of --cron.")
@click.option(
    "--agent", metavar="FILE|NAME", type=TEXT, help="A file is read now; a name when a run starts."
)
@agents_option
@click.option(
    "--overlap",
    type=click.Choice(tuple(OVERLAPS)),
    default="skip",
    show_default=True,
    help="When the last run still goes on.",
)
@click.option(
    "--caller", default="schedule", show_default=True, metavar="ID", type=BY, help="Who asks."
)
@click.option(
    "--deliver", metavar="KIND[:ADDRESS]", type=TEXT, help="Where outcomes go, as of `run`."
)
@PRIORITY
@click.option(
    "--app", metavar="MODULE:ATTR", type=LINE, help="The workers' ExecutusPlugin: it must accept."
)
@click.option("--paused", is_flag=True, help="Create it paused.")
@NOTE
def add(
    *,
    name: str,
    prompt: str,
    cron: tuple[str, ...],
    every: timedelta | None,
    zone: str,
    agent: str | None,
    folders: tuple[Path, ...],
    overlap: Overlap,
    caller: str,
    deliver: str | None,
    priority: int | None,
    app: str | None,
    paused: bool,
    note: str,
) -> int:
    """Create a schedule that asks an agent PROMPT; a run's id is NAME and the time.

    With --app it is created only if that app would start such a run: it knows the agent, its
    tools and models, and can deliver. Otherwise the first run tells: see `list`.
    """
    settings = with_agents(load_settings(), folders)
    with checked(Invocation):
        invocation = Invocation(
            prompt=prompt,
            caller_id=caller,
            channel_id=f"schedule:{name}"[:MAX_CHANNEL],
            priority=priority,
            delivery=None if deliver is None else parse_target(deliver),
        )
    request = RunRequest(agent=choose_agent(agent, settings.agents), invocation=invocation)
    times = Times(cron=cron, every=every, zone=zone)

    asyncio.run(rehearse(request, app, settings))

    async def work(schedules: Schedules) -> None:
        await schedules.add(name, request, times, overlap=overlap, note=note, paused=paused)

    _do(settings, work, f"schedule {name} created on task queue {settings.task_queue}")
    warn_of_own_server()
    return codes.OK


@schedule.command("list")
def listed() -> int:
    """Every schedule: next start, last run and how it ended; and whether sweeps are on one."""
    asyncio.run(_list(load_settings()))
    return codes.OK


async def _list(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        client = await plain_client(stack, settings)
        found = await _schedules(client, settings).list()
        for item in found:
            ended = item.last_run_id and await last_ending(client, item.last_run_id)
            click.echo(_line(item, ended or ""))
        if not found:
            click.echo("no schedules", err=True)
        if await installed(client):
            text = (
                f"sweeps are on the schedule {SCHEDULE_ID}; `executus sweep --uninstall` ends that"
            )
            click.echo(text, err=True)


@schedule.command("pause")
@NAME
@NOTE
def pause(*, name: str, note: str) -> int:
    """Start nothing until `resume`."""
    done = f"schedule {name} paused"
    return _do(load_settings(), lambda schedules: schedules.pause(name, note), done)


@schedule.command("resume")
@NAME
@NOTE
def resume(*, name: str, note: str) -> int:
    """Start runs again."""
    done = f"schedule {name} resumed"
    return _do(load_settings(), lambda schedules: schedules.resume(name, note), done)


@schedule.command("trigger")
@NAME
def trigger(*, name: str) -> int:
    """Start a run now, whatever the times say."""
    done = f"schedule {name} starts a run now; `executus schedule list` tells its id"
    return _do(load_settings(), lambda schedules: schedules.trigger(name), done)


@schedule.command("remove")
@NAME
def remove(*, name: str) -> int:
    """Forget a schedule; runs that go on are not touched."""
    done = f"schedule {name} removed"
    return _do(load_settings(), lambda schedules: schedules.remove(name), done)


def _line(item: Scheduled, ended: str) -> str:
    when = f"next {item.next_at:%Y-%m-%d %H:%M:%S} UTC" if item.next_at else "no next start"
    parts = [item.name, "paused" if item.paused else when]
    parts += [f"last run {item.last_run_id} {ended}".rstrip()] if item.last_run_id else []
    parts += [item.note] if item.note and item.note not in {PAUSED, RESUMED} else []
    return "  ".join(parts)


def _do(settings: Settings, work: Callable[[Schedules], Awaitable[None]], done: str) -> int:
    asyncio.run(_with(settings, work))
    click.echo(done)
    return codes.OK


async def _with(settings: Settings, work: Callable[[Schedules], Awaitable[None]]) -> None:
    async with AsyncExitStack() as stack:
        await work(_schedules(await plain_client(stack, settings), settings))


def _schedules(client: Client, settings: Settings) -> Schedules:
    return Schedules(client, settings.task_queue, Backstop({}, Defaults()))
