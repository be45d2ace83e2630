"""Read from outside how a run ended: every way that a workflow can close becomes a RunResult."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - Temporal's own, which is the one that arrives here
)
from temporalio.service import RPCError

from executus.contracts import QUERY_RESULT, QUERY_STATE
from executus.result import RunResult
from executus.state import LiveState
from executus.status import Reason, Status

QUERY_SECONDS = 10.0
"""Seconds to wait for a worker to answer a query."""
MEMO_KEY = "executus"
"""Where a natively cancelled run leaves the head of its result."""


async def read_ending(handle: WorkflowHandle[Any, RunResult]) -> RunResult:
    """Wait for the end of a run, whatever it is."""
    try:
        return await handle.result()
    except WorkflowFailureError as error:
        return await _ended_badly(handle, error.cause)


async def read_state(handle: WorkflowHandle[Any, Any], seconds: float) -> LiveState:
    """A run at this moment, as told by a worker within so many seconds.

    Raises:
        RPCError: there is no such run, or no worker that can tell.
    """
    state: LiveState = await handle.query(
        QUERY_STATE, result_type=LiveState, rpc_timeout=timedelta(seconds=seconds)
    )
    return state


async def _ended_badly(
    handle: WorkflowHandle[Any, RunResult], cause: BaseException | None
) -> RunResult:
    typed = typed_result(cause)
    if typed is not None:
        return typed
    if isinstance(cause, CancelledError):
        return await _cancelled(handle)
    return await _from_outside(handle, cause)


def typed_result(cause: BaseException | None) -> RunResult | None:
    """The result that a failed run carries; None when it is no failure of ours."""
    ours = isinstance(cause, ApplicationError) and (cause.type or "").startswith("executus.")
    if isinstance(cause, ApplicationError) and ours and cause.details:
        return _result(cause.details[0])
    return None


def _result(value: object) -> RunResult:
    """A result of this version or of a later one, whose own fields are left out.

    While workers are upgraded a parent and its child, or a run and who reads it, may be of two.
    """
    return RunResult.model_validate(value, extra="ignore")


async def _cancelled(handle: WorkflowHandle[Any, RunResult]) -> RunResult:
    """A canceled workflow carries no value: ask a worker, else take the head from the memo."""
    try:
        result: RunResult | None = await handle.query(
            QUERY_RESULT, result_type=RunResult, rpc_timeout=timedelta(seconds=QUERY_SECONDS)
        )
    except (RPCError, WorkflowQueryFailedError):
        result = None
    if result is not None:
        return result
    memo: Mapping[str, Any] = await (await handle.describe()).memo()
    if MEMO_KEY in memo:
        return _result(memo[MEMO_KEY])
    return await _from_outside(handle, None)


async def _from_outside(
    handle: WorkflowHandle[Any, RunResult], cause: BaseException | None
) -> RunResult:
    """An ending that no workflow code saw: terminated, timed out, a failing workflow task."""
    about = await handle.describe()
    status, reason = _OUTSIDE.get(
        about.status or WorkflowExecutionStatus.FAILED, (Status.ERROR, Reason.INTERNAL)
    )
    text = None
    if isinstance(cause, TerminatedError):
        text = "the workflow was terminated; no cleanup ran"
    elif isinstance(cause, TimeoutError):
        text = "Temporal's execution timeout ended the run; no cleanup ran"
    started = about.execution_time or about.start_time
    result = RunResult(
        run_id=handle.id,
        status=status,
        reason=reason,
        error=text or str(cause or "the workflow ended without a result"),
        started_at=started,
        ended_at=about.close_time or datetime.now(UTC),
    )
    return await _with_steps(handle, result)


async def _with_steps(handle: WorkflowHandle[Any, RunResult], result: RunResult) -> RunResult:
    """What it had done, if a worker can still tell."""
    try:
        state = await read_state(handle, QUERY_SECONDS)
    except (RPCError, WorkflowQueryFailedError):
        return result
    return result.model_copy(
        update={
            "started_at": state.started_at,
            "steps": state.steps,
            "steps_total": state.steps_total,
            "iterations": state.iteration,
            "usage": state.usage,
            "cost_micro_usd": state.cost_micro_usd,
            "files": state.files,
            "warnings": state.warnings,
        }
    )


_OUTSIDE: dict[WorkflowExecutionStatus, tuple[Status, Reason]] = {
    WorkflowExecutionStatus.TERMINATED: (Status.ERROR, Reason.TERMINATED),
    WorkflowExecutionStatus.TIMED_OUT: (Status.TIMEOUT, Reason.BACKSTOP),
    WorkflowExecutionStatus.CANCELED: (Status.CANCELLED, Reason.CANCEL_REQUEST),
    WorkflowExecutionStatus.FAILED: (Status.ERROR, Reason.INTERNAL),
}
