"""`executus worker`: serve a task queue until SIGTERM."""

import asyncio
import logging
import os
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import click
from temporalio.worker import Worker

from executus.cli import log
from executus.cli.compose import (
    Composition,
    agents_option,
    app_option,
    compose,
    load_app,
    with_agents,
)
from executus.cli.number import POSITIVE
from executus.cli.place import Place, open_place
from executus.cli.signals import stop_event
from executus.cli.text import ID
from executus.connect import connect, load_profile
from executus.errors import ConfigError
from executus.prometheus import serve_metrics
from executus.settings import Settings, load_settings

logger = logging.getLogger("executus.worker")


@click.command()
@click.option("--task-queue", metavar="NAME", type=ID, help="Instead of EXECUTUS_TASK_QUEUE.")
@app_option
@agents_option
@click.option(
    "--rate",
    type=POSITIVE,
    metavar="N",
    help="Steps a second that all workers of the queue may begin together.",
)
@click.option("--dev", is_flag=True, help="Without a Temporal address, start the folder's server.")
def worker(
    *,
    task_queue: str | None,
    app: str | None,
    folders: tuple[Path, ...],
    rate: float | None,
    dev: bool,
) -> None:
    """Run agents from a task queue until SIGTERM or Ctrl-C.

    Then it takes no more work, and running steps get EXECUTUS_GRACEFUL_SHUTDOWN_SECONDS to
    finish; Temporal gives what was cut off to another worker. Logs are one JSON object a line.
    Without --app it serves the demo agent and its tools. A broken agent file refuses the start.
    """
    settings = with_agents(load_settings(), folders)
    if task_queue:
        settings = settings.model_copy(update={"task_queue": task_queue})
    if not dev and not load_profile().address:
        raise ConfigError("no Temporal address: set TEMPORAL_ADDRESS, or use `worker --dev`")
    composition = load_app(app, settings) if app is not None else compose(settings)
    composition.plugin.check()
    log.to_stderr()
    for note in composition.notes:
        logger.warning(note)
    asyncio.run(serve(settings, composition, rate=rate))


async def serve(
    settings: Settings,
    composition: Composition,
    *,
    rate: float | None = None,
) -> None:
    """Serve until a signal comes or the worker fails.

    `rate`: steps a second of the whole task queue. Temporal keeps it; the last worker to say one
    wins.
    """
    async with AsyncExitStack() as stack:
        stack.push_async_callback(composition.close)
        await composition.plugin.check_stores()
        runtime = serve_metrics(settings.metrics_address)
        place = await stack.enter_async_context(open_place(settings))
        client = await connect(
            place.profile,
            plugins=[composition.plugin],
            seconds=settings.connect_seconds,
            runtime=runtime,
        )
        serving = Worker(
            client,
            task_queue=settings.task_queue,
            max_cached_workflows=settings.max_cached_workflows,
            max_concurrent_activities=settings.max_concurrent_activities,
            max_task_queue_activities_per_second=rate,
            graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
        )
        await _until_told(serving, settings, place)


async def _until_told(serving: Worker, settings: Settings, place: Place) -> None:
    told = asyncio.create_task(stop_event().wait())
    running = asyncio.create_task(serving.run())
    _log("serving", place=place, settings=settings)
    await asyncio.wait({told, running}, return_when=asyncio.FIRST_COMPLETED)
    if told.done():
        _log("draining", place=place, settings=settings)
        await serving.shutdown()
    told.cancel()
    await running
    _log("stopped", place=place, settings=settings)


def _log(what: str, *, place: Place, settings: Settings) -> None:
    context = {
        "pid": os.getpid(),
        "address": place.profile.address,
        "namespace": place.profile.namespace or "default",
        "task_queue": settings.task_queue,
        **({"metrics": settings.metrics_address} if settings.metrics_address else {}),
    }
    logger.info(what, extra={"executus": context | ({"ui": place.ui} if place.ui else {})})
