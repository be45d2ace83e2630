"""One `executus run`: find a server and a worker, start the run, follow it, tell the outcome."""

import asyncio
import json
import sys
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import click
from rich.console import Console
from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from executus.agent import RunnableAgent
from executus.cli import exit as codes
from executus.cli.attach import Attachments
from executus.cli.checked import checked
from executus.cli.compose import Composition, compose
from executus.cli.follow import Follower, interrupts
from executus.cli.live import Stderr, View, labelled, open_view, summary_lines
from executus.cli.place import Place, has_worker, open_place
from executus.connect import connect
from executus.delivery_target import DeliveryTarget
from executus.errors import ConfigError
from executus.forks import fork_request, request_of
from executus.invocation import Invocation
from executus.origin import Origin
from executus.request import RunRequest
from executus.result import RunResult
from executus.runs import Runs
from executus.settings import Settings
from executus.status import Status
from executus.stores.file_store import FileStore

PATIENCE = 1.0
"""Seconds in which a database that is there has answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the command line asks for."""

    prompt: str | None
    """What to ask; None follows the run `run_id`."""
    agent: RunnableAgent | str | None
    """By value, or registered on the worker. None, for a fork: the agent of the run it is of."""
    run_id: str | None
    """None: a new one."""
    caller: str
    """Who asks."""
    priority: int | None = None
    """1 first, 5 last."""
    attachments: Attachments = field(default_factory=Attachments)
    """What the agent may look at and read."""
    delivery: DeliveryTarget | None = None
    """Where the outcome goes too."""
    folder: Path | None
    """What the demo's tools may read; the worker is then ours, because the folder is here."""
    json: bool
    """Print the RunResult and nothing else on stdout."""
    origin: Origin | None = None
    """The run to go on from, for a fork."""
    model: str | None = None
    """Tier or model spec in place of the agent's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Everything that stands when the run starts."""

    order: Order
    place: Place
    client: Client
    view: View
    run_id: str
    task_queue: str
    here: bool
    """Whether the run's worker is in this process."""
    files: FileStore | None
    """The worker's file store, when it is certain that this is it."""


async def execute(order: Order, settings: Settings) -> int:
    """Carry out one order; the exit code says how the run ended."""
    console = Stderr()
    composition = compose(settings, folder=order.folder)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(composition.close)
        await _check_stores(composition, console)
        place = await stack.enter_async_context(open_place(settings))
        client = await connect(
            place.profile, plugins=[composition.plugin], seconds=settings.connect_seconds
        )
        run_id = order.run_id or f"run-{uuid.uuid4()}"
        known = await _known(client, run_id) if order.run_id else None
        if order.prompt is None and known is None:
            msg = f"no run `{run_id}` here; give a PROMPT to start it"
            raise ConfigError(msg)
        if known is not None and order.origin is not None:
            await _same_fork(client, order, run_id)
        # A fork goes where the run it is of has its workers: only they can tell its conversation.
        near = known or (await _known(client, order.origin.run_id) if order.origin else None)
        task_queue, here = await _task_queue(client, settings, order, run_id, near)
        if here:
            await stack.enter_async_context(_worker(client, task_queue, settings))
        view = open_view(console)
        _say_where(view, place, composition, task_queue=task_queue, here=here, known=known)
        session = Session(
            order=order,
            place=place,
            client=client,
            view=view,
            run_id=run_id,
            task_queue=task_queue,
            here=here,
            # A folder of our own says nothing to a worker elsewhere; a place that is named does.
            files=composition.files if here or settings.files_url else None,
        )
        return await _follow(session, console)


async def _check_stores(composition: Composition, console: Console) -> None:
    """Say what a store that does not answer is waited for, and that it did not answer."""
    check = asyncio.create_task(composition.plugin.check_stores())
    await asyncio.wait({check}, timeout=PATIENCE)
    if not check.done() and composition.database is not None:
        _say(console, [labelled("waiting", f"for the database {composition.database.location}")])
    _say(console, [labelled("warning", warning) for warning in await check])


async def _follow(session: Session, console: Console) -> int:
    order, run_id = session.order, session.run_id
    runs = Runs(session.client, task_queue=session.task_queue, files=session.files)
    signals = interrupts()
    if order.prompt is not None:
        with checked(Invocation):
            request = await _request(session, order.prompt)
        await runs.start(request)
    follower = Follower(runs, run_id, session.view, signals, patient=not session.place.embedded)
    with session.view as view:
        try:
            result = await follower.wait()
        except RPCError:  # the run goes on all the same: say by what it is found again
            view.note(labelled("left", f"the run {run_id}; follow it: executus run --id {run_id}"))
            raise
        if result is not None:
            view.finish(result)
    if result is None:
        _say(console, _left(session, stopping=follower.stopping))
        return codes.INTERRUPTED if follower.interrupted else codes.TERMINATED
    _tell(session, console, result)
    if follower.interrupted:
        return codes.INTERRUPTED
    return codes.OK if result.status is Status.OK else codes.FAILED


async def _request(session: Session, prompt: str) -> RunRequest:
    order = session.order
    if order.origin is not None:
        return await fork_request(
            session.client,
            order.origin,
            agent=order.agent,
            model_tier=order.model,
            prompt=prompt,
            run_id=session.run_id,
            caller_id=order.caller or None,
        )
    invocation = Invocation(
        prompt=prompt,
        run_id=session.run_id,
        caller_id=order.caller,
        priority=order.priority,
        images=order.attachments.images,
        files=order.attachments.files,
        dropped_files=order.attachments.dropped,
        delivery=order.delivery,
    )
    return RunRequest(agent=order.agent or "", invocation=invocation)


def _tell(session: Session, console: Console, result: RunResult) -> None:
    """The answer on stdout, what there is to know about it on stderr."""
    text = answer_text(result)
    if text and not session.order.json:
        click.echo(f"\n{text}\n")
        sys.stdout.flush()
    lines = summary_lines(result, ui=session.place.link(session.client, result.run_id))
    if session.place.ours:
        lines.append(labelled("", "the server stops now; `executus server` opens it again"))
    _say(console, lines)
    if session.order.json:
        sys.stderr.flush()
        click.echo(result.model_dump_json())


def answer_text(result: RunResult) -> str:
    """What goes to stdout: the structured result as JSON where there is one, else the output."""
    if result.structured is None:
        return result.output
    return json.dumps(result.structured, ensure_ascii=False, indent=2)


def _say(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _left(session: Session, *, stopping: bool) -> list[str]:
    """How to find a run that we do not wait for, and what becomes of it."""
    goes_on = "when a worker takes it again" if session.here else "on its worker"
    does = f"is being stopped, {goes_on}" if stopping else f"continues {goes_on}"
    lines = [
        f"left the run {session.run_id}; it {does}",
        labelled("its result" if stopping else "follow it", f"executus run --id {session.run_id}"),
    ]
    link = session.place.link(session.client, session.run_id)
    return [*lines, labelled("ui", link)] if link else lines


async def _same_fork(client: Client, order: Order, run_id: str) -> None:
    """See that a run which is there already is the fork that is asked for.

    Raises:
        ConfigError: it is another run; shown, it would pass for the fork.
    """
    made = await request_of(client, run_id)
    there = made.origin.model_copy(update={"by": ""}) if made and made.origin else None
    asked = order.origin.model_copy(update={"by": ""}) if order.origin else None
    if made is None or (there, made.invocation.prompt) != (asked, order.prompt):
        msg = f"--id {run_id} is there already and is another run: choose another id"
        raise ConfigError(msg)


async def _known(client: Client, run_id: str) -> WorkflowExecutionDescription | None:
    """The run of this id, if there is one."""
    try:
        return await client.get_workflow_handle(run_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


async def _task_queue(
    client: Client,
    settings: Settings,
    order: Order,
    run_id: str,
    near: WorkflowExecutionDescription | None,
) -> tuple[str, bool]:
    """Where the run goes, and whether its worker is ours.

    A worker of ours has a task queue of its own, named for the run: on the shared one it would take
    the work of other people's runs, whose tools and folder it does not have.
    """
    if near is not None:
        return near.task_queue, not await has_worker(client, near.task_queue)
    if order.folder is None and await has_worker(client, settings.task_queue):
        return settings.task_queue, False
    return f"{settings.task_queue}.{run_id}", True


def _worker(client: Client, task_queue: str, settings: Settings) -> Worker:
    return Worker(
        client,
        task_queue=task_queue,
        max_concurrent_activities=settings.max_concurrent_activities,
        graceful_shutdown_timeout=timedelta(milliseconds=1),  # whoever leaves does not wait
    )


def _say_where(
    view: View,
    place: Place,
    composition: Composition,
    *,
    task_queue: str,
    here: bool,
    known: WorkflowExecutionDescription | None,
) -> None:
    address = place.profile.address
    view.note(labelled("temporal", f"{address}{' (embedded)' if place.embedded else ''}"))
    view.note(labelled("worker", "in this process" if here else f"on task queue {task_queue}"))
    if here:
        for note in composition.notes:
            view.note(labelled("model", note))
    if known is not None:
        view.note(f"the run {known.id} was started before; showing it")
