"""AgentRun: one agent run as a Temporal workflow."""

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from executus import contracts
from executus.audit import AuditClose, AuditRow
from executus.carry import Carry
from executus.contracts import PAGE_BYTES, RaiseLimits, RunKey, StepsPage
from executus.data import Data
from executus.errors import ExecutusError, RequestError
from executus.message import ToolCallPart
from executus.plan import RunPlan
from executus.request import MAX_REQUEST_BYTES, RunRequest
from executus.result import RunResult
from executus.rows import late_row
from executus.sanitize import cap_text, clean_line, clean_text
from executus.state import LiveState
from executus.status import Reason, Status
from executus.transcript import TranscriptPage
from executus.workflows.cleanup import Cleanup
from executus.workflows.driver import RunDriver
from executus.workflows.ending import Ending
from executus.workflows.handover import carried_page
from executus.workflows.report import MAX_OUTPUT_BYTES, failure, fit_steps, result_head
from executus.workflows.scope import wait_for_end

# A request that does not decode must end the run in a typed status; decoded by the SDK it would
# fail the workflow task for ever (reliability.md B-12). So the SDK hands over the raw payload.
if TYPE_CHECKING:
    Request = RunRequest
    NOTHING: Any = None
else:
    Request = RawValue
    NOTHING = RawValue(Payload())  # for one who starts the workflow without an argument

D = TypeVar("D", bound=Data)

MAX_STEER = 100
"""Steer messages that may wait; more are dropped, with an event."""
MAX_STEER_CHARACTERS = 20_000
MAX_REASON_CHARACTERS = 500


# Outside the sandbox: all it imports is executus, which the sandbox passed through anyway, so it
# guarded nothing and cost 3 ms of CPU an iteration (docs/performance.md). What it would catch is
# held by workflows/ruff.toml, tests/test_conventions.py and the replay of every test's history.
@workflow.defn(name=contracts.AGENT_RUN, sandboxed=False, failure_exception_types=[ExecutusError])
class AgentRun:
    """Runs one agent to one typed end.

    Start it with the ordinary client; the workflow id is the run id. It completes with a RunResult
    (status ok, or stopped by signal), fails with type `executus.<status>` and the RunResult as its
    detail, or is canceled natively with the result's head in the memo.
    """

    def __init__(self) -> None:
        info = workflow.info()
        key = RunKey(run_id=info.workflow_id, workflow_run_id=info.first_execution_run_id)
        self._driver = RunDriver(key)
        self._result: RunResult | None = None

    @workflow.run
    async def run(self, request: Request = NOTHING) -> RunResult:
        """Run the request, or go on with what an earlier execution of the run hands over."""
        ending = await self._drive(request)
        if ending is None:
            self._go_on()
        result = self._report(ending)
        # A task of its own that is only waited for: no cancel enters it (workflows/scope.py).
        cleanup = asyncio.create_task(self._clean_up(result))
        await wait_for_end(cleanup)
        self._result = result = fit_steps(cleanup.result(), self._driver.ledger)
        self._driver.phase = "closed"
        self._driver.changed()
        return self._close(result)

    async def _drive(self, request: Request) -> Ending | None:
        """The ending, whatever the request is and whatever is broken in here; None = go on."""
        driver = self._driver
        try:
            carry = _decode_carry(request)
            return await driver.drive(carry.request if carry else _decode(request), carry)
        except RequestError as error:
            driver.ending = Ending(Status.ERROR, error.reason, error=str(error))
        except Exception as error:  # noqa: BLE001 - uncaught, it would hang the workflow task
            workflow.logger.error("executus: bug in the run", exc_info=error)
            text = f"internal error: {type(error).__name__}: {error}"[:1_000]
            driver.ending = Ending(Status.ERROR, Reason.INTERNAL, error=text)
        return driver.ending

    def _go_on(self) -> NoReturn:
        """Continue as a new execution."""
        if self._driver.carry is None:  # pragma: no cover - drive has set it
            raise ExecutusError("nothing to go on with")
        workflow.continue_as_new(self._driver.carry)

    def _report(self, ending: Ending) -> RunResult:
        driver = self._driver
        driver.phase = "closing"
        driver.changed()
        return RunResult(
            run_id=driver.key.run_id,
            status=ending.status,
            reason=ending.reason,
            output=cap_text(ending.output, MAX_OUTPUT_BYTES).text,
            structured=ending.structured,
            error=clean_text(ending.error) if ending.error else None,
            iterations=driver.iteration,
            usage=driver.ledger.usage,
            cost_micro_usd=driver.ledger.cost_micro_usd,
            started_at=driver.started_at,
            ended_at=workflow.now(),
        )

    def _close(self, result: RunResult) -> RunResult:
        if result.reason is Reason.CANCEL_REQUEST:
            workflow.upsert_memo({"executus": result_head(result)})
            raise asyncio.CancelledError
        if result.status is Status.OK or result.reason is Reason.CANCEL_SIGNAL:
            return result
        raise failure(result)

    async def _clean_up(self, result: RunResult) -> RunResult:
        """Settle and close; always answers with a result."""
        driver = self._driver
        cleanup = Cleanup(driver.bounds.cleanup_seconds)
        try:
            if driver.reserved:
                seconds = (result.ended_at - result.started_at).total_seconds()
                await cleanup.commit(result.run_id, seconds)
            # Wiring unknown: the request never got as far as resolve. The activity knows.
            if driver.wired is None or "audit" in driver.wired:
                receipt = await cleanup.close(
                    self._audit_close(result), driver.ledger.events, driver.ledger.total
                )
                head = receipt.head if receipt else None
                result = result.model_copy(update={"audit_head": head})
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must still end
            workflow.logger.error("executus: bug in cleanup", exc_info=error)
            cleanup.warnings.append(f"internal error in cleanup: {type(error).__name__}: {error}")
        return result.model_copy(update={"warnings": tuple(cleanup.warnings)})

    def _audit_close(self, result: RunResult) -> AuditClose:
        return AuditClose(
            opening=self._driver.opening(),
            status=result.status,
            reason=result.reason,
            output=result.output,
            error=result.error,
            iterations=result.iterations,
            steps=self._driver.ledger.total,
            usage=result.usage,
            cost_micro_usd=result.cost_micro_usd,
            ended_at=result.ended_at,
        )

    # -- signals -------------------------------------------------------------------------------

    @workflow.signal(name=contracts.SIGNAL_CANCEL)
    def cancel(self, reason: str = "") -> None:
        """Stop gracefully: the run completes with status cancelled and its partial result."""
        why = clean_line(reason, MAX_REASON_CHARACTERS) or "no reason given"
        self._driver.stop(Status.CANCELLED, Reason.CANCEL_SIGNAL, f"cancelled: {why}")

    @workflow.signal(name=contracts.SIGNAL_STEER)
    def steer(self, text: str) -> None:
        """Say something to the agent: a user message before its next model call."""
        if len(self._driver.steer) >= MAX_STEER:
            self._driver.ledger.event("steer_dropped", text, workflow.now())
        elif text.strip():
            self._driver.steer.append(cap_text(text, MAX_STEER_CHARACTERS).text)

    # -- updates -------------------------------------------------------------------------------

    @workflow.update(name=contracts.UPDATE_RAISE_LIMITS)
    def raise_limits(self, asked: RaiseLimits) -> LiveState:
        """Raise the run's own token or money limit; a run that paused at it goes on."""
        self._driver.raise_limits(asked)
        return self._driver.state()

    @raise_limits.validator
    def _may_raise(self, asked: RaiseLimits) -> None:
        problem = self._driver.raise_problem(asked)
        if problem is not None:
            raise ApplicationError(problem, type="executus.limits", non_retryable=True)

    # -- queries -------------------------------------------------------------------------------

    @workflow.query(name=contracts.QUERY_STATE)
    def state(self) -> LiveState:
        """The run at this moment."""
        return self._driver.state()

    @workflow.query(name=contracts.QUERY_TRANSCRIPT)
    def transcript(self, start: int = 0) -> TranscriptPage:
        """Messages from `start` on, at most about 900 KB of them; ask again from where it ends."""
        return self._driver.transcript.page(max(0, start), PAGE_BYTES)

    @workflow.query(name=contracts.QUERY_CARRIED)
    def carried(self, start: int = 0) -> TranscriptPage:
        """A page of what the model is shown, for an execution that could not be handed it."""
        return carried_page(self._driver.transcript, max(0, start), PAGE_BYTES)

    @workflow.query(name=contracts.QUERY_PLAN)
    def plan(self) -> RunPlan | None:
        """What was frozen at the start; None before that."""
        return self._driver.plan

    @workflow.query(name=contracts.QUERY_RESULT)
    def result(self) -> RunResult | None:
        """The result, once there is one: for a run that was canceled natively and carries none."""
        return self._result

    @workflow.query(name=contracts.QUERY_STEPS)
    def steps(self, start: int = 0) -> StepsPage:
        """Audit rows of the steps from `start` on, for a close that finds some missing."""
        ledger, rows, room = self._driver.ledger, list[AuditRow](), PAGE_BYTES
        for step in ledger.steps[start:]:
            index = ledger.messages.get(step.id)
            message = self._driver.transcript.messages[index] if index is not None else None
            row = late_row(step, ledger.attempts[step.id], message, self._arguments(step.id))
            room -= len(row.model_dump_json())
            if rows and room < 0:
                break
            rows.append(row)
        return StepsPage(rows=tuple(rows), start=start, total=len(ledger.steps))

    def _arguments(self, step_id: str) -> str:
        """Arguments of a tool call: `m3.t2` is the second call of the reply of `m3`."""
        turn, _, ordinal = step_id.partition(".t")
        index = self._driver.ledger.messages.get(turn)
        if index is None or not ordinal.isdigit():
            return ""
        parts = self._driver.transcript.messages[index].parts
        calls = [part for part in parts if isinstance(part, ToolCallPart)]
        return calls[int(ordinal) - 1].arguments


def _decode(request: Any) -> RunRequest:  # noqa: ANN401 - raw at run time, see `Request`
    """The request, checked.

    Raises:
        RequestError: it is too large, does not validate, or names another run id.
    """
    size = len(request.payload.data)
    if size > MAX_REQUEST_BYTES:
        text = f"the request has {size:,} bytes; the limit is {MAX_REQUEST_BYTES:,}"
        raise RequestError(text, reason=Reason.TOO_LARGE)
    decoded = _from_payload(request, RunRequest)
    if decoded is None:
        raise RequestError("the request is empty: pass one RunRequest")
    run_id = decoded.invocation.run_id
    if run_id is not None and run_id != workflow.info().workflow_id:
        text = f"the workflow id is the run id: start it with id={run_id!r}, or leave run_id out"
        raise RequestError(text)
    return decoded


def _decode_carry(raw: Any) -> Carry | None:  # noqa: ANN401 - raw at run time, see `Request`
    """What an earlier execution handed over.

    It holds the grant, so only the run itself may pass it: a caller's is an invalid request.
    """
    if workflow.info().continued_run_id is None:
        return None
    try:
        return _from_payload(raw, Carry)
    except RequestError:
        return None  # the server started the request again, by a retry policy of the caller's


def _from_payload(raw: Any, kind: type[D]) -> D | None:  # noqa: ANN401 - a RawValue at run time
    if not raw.payload.metadata:
        return None
    try:
        decoded = workflow.payload_converter().from_payload(raw.payload, kind)
    except Exception as error:  # noqa: BLE001 - any decoding error means the same: it is invalid
        text = clean_line(str(error.__cause__ or error), 1_000)
        raise RequestError(f"the request does not validate: {text}") from None
    return decoded if isinstance(decoded, kind) else None
