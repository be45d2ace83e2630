"""Whether a run can be asked at all, known from Temporal at once and not from silence."""

from pydantic import ValidationError
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.service import RPCError, RPCStatusCode

from executus.cli.place import has_worker
from executus.contracts import AGENT_RUN
from executus.endings import typed_result
from executus.errors import UserError
from executus.result import RunResult
from executus.sanitize import clean_line
from executus.settings import Settings
from executus.updates import refused

MAX_WHY = 200
"""Characters of an error in a list."""


async def check_served(client: Client, settings: Settings, run_id: str) -> None:
    """See that a run goes on and that some worker can take up what is said to it.

    Raises:
        UserError: there is no such run, it has ended, or nobody polls its task queue.
    """
    about = await _described(client, run_id)
    if ended := await _ending(client, about):
        raise UserError(f"run `{run_id}` has ended ({ended}): executus run --id {run_id} shows it")
    if await _polled(client, about.task_queue):
        return
    ours = about.task_queue == settings.task_queue
    start = "executus worker" + ("" if ours else f" --task-queue {about.task_queue}")
    raise UserError(
        f"run `{run_id}`: no worker polls its task queue {about.task_queue}; start one: {start}"
    )


async def how_it_ended(client: Client, run_id: str) -> str | None:
    """In which status a run has closed; None while it goes on.

    Raises:
        UserError: there is no such run.
    """
    return await _ending(client, await _described(client, run_id))


async def last_ending(client: Client, run_id: str) -> str:
    """How a run ended, or that it goes on; with its error when it failed. Empty: nobody knows."""
    try:
        about = await client.get_workflow_handle(run_id).describe()
        if _goes_on(about):
            return "(goes on)"
        result = await _result(client, about)
    except (RPCError, ValidationError, RuntimeError):
        return ""  # its history is gone, or does not read here: a list tells the rest
    why = clean_line(result.error, MAX_WHY) if result is not None and result.error else ""
    return f"({_told(about, result)}: {why})" if why else f"({_told(about, result)})"


async def _ending(client: Client, about: WorkflowExecutionDescription) -> str | None:
    return None if _goes_on(about) else _told(about, await _result(client, about))


def _goes_on(about: WorkflowExecutionDescription) -> bool:
    return about.status is None or about.status is WorkflowExecutionStatus.RUNNING


def _told(about: WorkflowExecutionDescription, result: RunResult | None) -> str:
    if result is not None:
        return f"{result.status.value}/{result.reason.value}"
    return "" if about.status is None else about.status.name.lower()


async def _result(client: Client, about: WorkflowExecutionDescription) -> RunResult | None:
    """A closed run's own result, where its history has one: no worker is asked."""
    if about.workflow_type != AGENT_RUN:
        return None
    try:
        result: RunResult = await client.get_workflow_handle(
            about.id, result_type=RunResult
        ).result()
    except WorkflowFailureError as error:
        return typed_result(error.cause)
    return result


async def _described(client: Client, run_id: str) -> WorkflowExecutionDescription:
    try:
        return await client.get_workflow_handle(run_id).describe()
    except RPCError as error:
        raise refused(run_id, error) from None


async def _polled(client: Client, task_queue: str) -> bool:
    """Whether a worker polls, or the server does not tell."""
    try:
        return await has_worker(client, task_queue)
    except RPCError as error:
        if error.status in {RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED}:
            return True
        raise
