"""Runs: start agent runs and turn every ending back into a RunResult.

An ordinary Temporal client does all of this too; this is the short way.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - Temporal's own, which is the one that arrives here
    WorkflowAlreadyStartedError,
)
from temporalio.service import RPCError, RPCStatusCode

from executus.contracts import (
    QUERY_RESULT,
    QUERY_STATE,
    SIGNAL_CANCEL,
    SIGNAL_STEER,
    UPDATE_RAISE_LIMITS,
    RaiseLimits,
)
from executus.errors import RequestError, UserError
from executus.request import MAX_REQUEST_BYTES, RunRequest
from executus.result import RunResult
from executus.sanitize import clean_line
from executus.state import LiveState
from executus.status import Reason, Status
from executus.workflows.agent_run import AgentRun

FIRST_QUERY_SECONDS = 3.0
LOST_QUERY = frozenset({RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED})
QUERY_SECONDS = 10.0
"""Seconds to wait for a worker to answer a query."""
MEMO_KEY = "executus"


class Runs:
    """Agent runs of one client and task queue."""

    def __init__(self, client: Client, task_queue: str = "executus") -> None:
        """`client` needs the ExecutusPlugin, or at least the pydantic data converter."""
        self._client = client
        self._task_queue = task_queue

    async def start(
        self, request: RunRequest, *, static_summary: str | None = None
    ) -> WorkflowHandle[AgentRun, RunResult]:
        """Start a run; the same run id again gives the same run, also after it has ended.

        Raises:
            RequestError: the request is too large.
        """
        size = len(request.model_dump_json())
        if size > MAX_REQUEST_BYTES:
            text = f"the request has {size:,} bytes; the limit is {MAX_REQUEST_BYTES:,}"
            raise RequestError(text, reason=Reason.TOO_LARGE)
        agent = request.agent if isinstance(request.agent, str) else request.agent.name
        run_id = request.invocation.run_id or f"{agent[:100]}-{uuid.uuid4()}"
        summary = static_summary or clean_line(f"{agent} for {request.invocation.caller_id}", 200)
        try:
            return await self._client.start_workflow(
                AgentRun.run,
                request,
                id=run_id,
                task_queue=self._task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=summary,
            )
        except WorkflowAlreadyStartedError:
            return self._client.get_workflow_handle_for(AgentRun.run, run_id)

    async def run(self, request: RunRequest) -> RunResult:
        """Start a run and wait for its end. Never raises for how the run ends."""
        handle = await self.start(request)
        return await self.result(handle.id)

    async def result(self, run_id: str) -> RunResult:
        """Wait for the end of a run, whatever it is."""
        handle: WorkflowHandle[Any, RunResult] = self._client.get_workflow_handle(
            run_id, result_type=RunResult
        )
        try:
            return await handle.result()
        except WorkflowFailureError as error:
            return await self._ended_badly(handle, error.cause)

    async def state(self, run_id: str) -> LiveState:
        """A run at this moment; also after its end, while its history is kept.

        Raises:
            RPCError: there is no such run, or no worker that can tell.
        """
        handle = self._client.get_workflow_handle(run_id)
        try:
            return await self._state(handle, FIRST_QUERY_SECONDS)
        except RPCError as error:
            if error.status not in LOST_QUERY:
                raise
            # Asked of an execution that was just being continued as new, a query gets lost.
            return await self._state(handle, QUERY_SECONDS)

    @staticmethod
    async def _state(handle: WorkflowHandle[Any, Any], seconds: float) -> LiveState:
        state: LiveState = await handle.query(
            QUERY_STATE, result_type=LiveState, rpc_timeout=timedelta(seconds=seconds)
        )
        return state

    async def cancel(self, run_id: str, reason: str = "") -> None:
        """Stop a run gracefully: it completes with status cancelled and its partial result."""
        await self._client.get_workflow_handle(run_id).signal(SIGNAL_CANCEL, reason)

    async def steer(self, run_id: str, text: str) -> None:
        """Say something to a running agent: a user message before its next model call."""
        await self._client.get_workflow_handle(run_id).signal(SIGNAL_STEER, text)

    async def raise_limits(
        self, run_id: str, *, tokens: int | None = None, micro_usd: int | None = None, by: str = ""
    ) -> LiveState:
        """Raise a running run's own limits; one that paused at them goes on.

        Raises:
            UserError: the run is not running, or the limit is not above the present one.
        """
        asked = RaiseLimits(tokens=tokens, micro_usd=micro_usd, by=by)
        handle = self._client.get_workflow_handle(run_id)
        try:
            state: LiveState = await handle.execute_update(  # pyright: ignore[reportUnknownMemberType]
                UPDATE_RAISE_LIMITS, asked, result_type=LiveState
            )
        except WorkflowUpdateFailedError as error:
            raise UserError(str(error.cause)) from None
        return state

    # -- endings -------------------------------------------------------------------------------

    async def _ended_badly(
        self, handle: WorkflowHandle[Any, RunResult], cause: BaseException | None
    ) -> RunResult:
        ours = isinstance(cause, ApplicationError) and (cause.type or "").startswith("executus.")
        if isinstance(cause, ApplicationError) and ours and cause.details:
            return RunResult.model_validate(cause.details[0])
        if isinstance(cause, CancelledError):
            return await self._cancelled(handle)
        return await self._from_outside(handle, cause)

    async def _cancelled(self, handle: WorkflowHandle[Any, RunResult]) -> RunResult:
        """A canceled workflow carries no value: ask a worker, else take the head from the memo."""
        try:
            result: RunResult | None = await handle.query(
                QUERY_RESULT,
                result_type=RunResult,
                rpc_timeout=timedelta(seconds=QUERY_SECONDS),
            )
        except (RPCError, WorkflowQueryFailedError):
            result = None
        if result is not None:
            return result
        memo: Mapping[str, Any] = await (await handle.describe()).memo()
        if MEMO_KEY in memo:
            return RunResult.model_validate(memo[MEMO_KEY])
        return await self._from_outside(handle, None)

    async def _from_outside(
        self, handle: WorkflowHandle[Any, RunResult], cause: BaseException | None
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
        return await self._with_steps(handle, result)

    async def _with_steps(
        self, handle: WorkflowHandle[Any, RunResult], result: RunResult
    ) -> RunResult:
        """What it had done, if a worker can still tell."""
        try:
            state = await self._state(handle, QUERY_SECONDS)
        except (RPCError, WorkflowQueryFailedError):
            return result
        return result.model_copy(
            update={
                "steps": state.steps,
                "steps_total": state.steps_total,
                "iterations": state.iteration,
                "usage": state.usage,
                "cost_micro_usd": state.cost_micro_usd,
            }
        )


_OUTSIDE: dict[WorkflowExecutionStatus, tuple[Status, Reason]] = {
    WorkflowExecutionStatus.TERMINATED: (Status.ERROR, Reason.TERMINATED),
    WorkflowExecutionStatus.TIMED_OUT: (Status.TIMEOUT, Reason.BACKSTOP),
    WorkflowExecutionStatus.CANCELED: (Status.CANCELLED, Reason.CANCEL_REQUEST),
    WorkflowExecutionStatus.FAILED: (Status.ERROR, Reason.INTERNAL),
}
