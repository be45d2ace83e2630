"""What became of a run, as Temporal tells it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowHistoryEventFilterType,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from executus.result import RunResult
from executus.sanitize import clean_line
from executus.status import Reason, Status

FAILURE_PREFIX = "executus."
"""A run that failed in its own way is an ApplicationError of type `executus.<status>`, whose first
detail is the RunResult."""
MEMO_KEY = "executus"
"""A run that was canceled natively leaves its result's head here."""


@dataclass(frozen=True, slots=True)
class Fate:
    """A run that Temporal knows."""

    handle: WorkflowHandle[Any, Any]
    """Its newest execution."""
    ended_at: datetime
    """When it ended; meaningless while it goes on."""
    seconds: float
    """How long it worked."""
    since_reset: float
    """How long its newest execution worked."""
    attempts: int
    """Attempts of its pending workflow task: more than a few, and it is stuck."""
    result: RunResult | None
    """What came of it; None while it goes on."""


async def fate_of(client: Client, run_id: str, first_run_id: str) -> Fate | None:
    """What became of the run whose first execution is `first_run_id` (empty: not known).

    None when Temporal does not know it. Raises RPCError when Temporal cannot be asked.
    """
    try:
        about = await _newest(client, run_id, first_run_id)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(
        run_id, run_id=about.run_id, result_type=RunResult
    )
    result = None
    if about.status not in {None, WorkflowExecutionStatus.RUNNING} and about.close_time:
        result = await _result(handle, about)
    ended = about.close_time or datetime.now(UTC)
    started = about.execution_time or about.start_time
    if result is not None:
        started, ended = result.started_at, max(result.started_at, result.ended_at)
    return Fate(
        handle=handle,
        ended_at=about.close_time or ended,
        seconds=max(0.0, (ended - started).total_seconds()),
        since_reset=max(0.0, (ended - max(started, about.start_time)).total_seconds()),
        attempts=about.raw_description.pending_workflow_task.attempt,
        result=result,
    )


async def _newest(client: Client, run_id: str, first: str) -> WorkflowExecutionDescription:
    """The newest execution of the chain that began with `first`.

    Resets and continue-as-new belong to it; another start under the same id does not.
    """
    about = await client.get_workflow_handle(run_id).describe()
    if not first or about.raw_info.first_run_id in {"", first}:
        return about
    about = await client.get_workflow_handle(run_id, run_id=first).describe()
    while about.status is WorkflowExecutionStatus.CONTINUED_AS_NEW:
        event = await _last_event(client.get_workflow_handle(run_id, run_id=about.run_id))
        attributes = event.workflow_execution_continued_as_new_event_attributes
        following = attributes.new_execution_run_id
        about = await client.get_workflow_handle(run_id, run_id=following).describe()
    return about


async def _result(
    handle: WorkflowHandle[Any, Any], about: WorkflowExecutionDescription
) -> RunResult:
    try:
        found: object = await handle.result(follow_runs=False)
    except WorkflowFailureError as failure:
        cause = failure.cause
        if isinstance(cause, ApplicationError):
            return _failed(about, cause)
        return await _outside(handle, about)
    except (ValidationError, ValueError, TypeError, RuntimeError):
        found = None
    if isinstance(found, RunResult):
        return found
    return _ending(about, Status.ERROR, Reason.INTERNAL, "it completed; its result does not read")


def _failed(about: WorkflowExecutionDescription, cause: ApplicationError) -> RunResult:
    if (cause.type or "").startswith(FAILURE_PREFIX) and cause.details:
        try:
            return RunResult.model_validate(cause.details[0])
        except ValidationError:
            pass
    return _ending(about, Status.ERROR, Reason.INTERNAL, clean_line(cause.message, 500))


async def _outside(
    handle: WorkflowHandle[Any, Any], about: WorkflowExecutionDescription
) -> RunResult:
    """An ending that no code of the run saw, or a native cancel."""
    if about.status is WorkflowExecutionStatus.CANCELED:
        head: object = (await about.memo()).get(MEMO_KEY)
        try:
            return RunResult.model_validate(head)
        except ValidationError:
            text = "canceled; its result's head did not land"
            return _ending(about, Status.CANCELLED, Reason.CANCEL_REQUEST, text)
    if about.status is WorkflowExecutionStatus.TIMED_OUT:
        text = "Temporal's execution timeout ended the run; no cleanup ran"
        return _ending(about, Status.TIMEOUT, Reason.BACKSTOP, text)
    event = await _last_event(handle)
    text = "the workflow ended without a result"
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:
        attributes = event.workflow_execution_terminated_event_attributes
        why = clean_line(attributes.reason, 300) or "no reason given"
        who = clean_line(attributes.identity, 100) or "the server"
        text = f"terminated by {who}: {why}; no cleanup ran"
        return _ending(about, Status.ERROR, Reason.TERMINATED, text)
    return _ending(about, Status.ERROR, Reason.INTERNAL, text)


async def _last_event(handle: WorkflowHandle[Any, Any]) -> HistoryEvent:
    events = handle.fetch_history_events(
        event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT
    )
    return [event async for event in events][-1]


def _ending(
    about: WorkflowExecutionDescription, status: Status, reason: Reason, error: str
) -> RunResult:
    return RunResult(
        run_id=about.id,
        status=status,
        reason=reason,
        error=error,
        started_at=about.execution_time or about.start_time,
        ended_at=about.close_time or datetime.now(UTC),
    )
