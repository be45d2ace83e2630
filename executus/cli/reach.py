"""Whether a run can be asked at all, known from Temporal at once and not from silence."""

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
from executus.settings import Settings
from executus.updates import refused


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


async def _ending(client: Client, about: WorkflowExecutionDescription) -> str | None:
    if about.status is None or about.status is WorkflowExecutionStatus.RUNNING:
        return None
    result = await _result(client, about) if about.workflow_type == AGENT_RUN else None
    if result is not None:
        return f"{result.status.value}/{result.reason.value}"
    return about.status.name.lower()


async def _result(client: Client, about: WorkflowExecutionDescription) -> RunResult | None:
    """A closed run's own result, where its history has one: no worker is asked."""
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
