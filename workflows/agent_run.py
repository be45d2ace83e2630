"""AgentRun: one agent run as a Temporal workflow."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from executus import contracts
from executus.contracts import PAGE_BYTES, RaiseLimits, RunKey, StepsPage
from executus.errors import ExecutusError, RequestError
from executus.origin import ForkAsk, ForkPoint
from executus.plan import RunPlan
from executus.question import Answer, Decision
from executus.request import RunRequest
from executus.result import RunResult
from executus.state import LiveState
from executus.status import Reason, Status
from executus.steer import SteerReceipt, SteerRequest
from executus.transcript import TranscriptPage
from executus.workflows.closing import close_run
from executus.workflows.driver import RunDriver
from executus.workflows.ending import Ending
from executus.workflows.fork import fork_point
from executus.workflows.handover import carried_page
from executus.workflows.intake import Received, decode_carry, decode_request, read_target
from executus.workflows.late_steps import late_steps
from executus.workflows.report import failure, result_head
from executus.workflows.scope import wait_for_end

# A request that does not decode must end the run in a typed status; decoded by the SDK it would
# fail the workflow task for ever (reliability.md B-12). So the SDK hands over the raw payload.
if TYPE_CHECKING:
    Request = RunRequest
    NOTHING: Any = None
else:
    Request = RawValue
    NOTHING = RawValue(Payload())  # for one who starts the workflow without an argument


REFUSED_LIMITS = "executus.limits"


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
        was_reset = partial(self._driver.run.was_reset, asyncio.get_running_loop())
        workflow.register_random_seed_callback(was_reset)

    @workflow.run
    async def run(self, request: Request = NOTHING) -> RunResult:
        """Run the request, or go on with what an earlier execution of the run hands over."""
        ending = await self._drive(request)
        if ending is None:
            self._go_on()
        # A task of its own that is only waited for: no cancel enters it (workflows/scope.py).
        closing = asyncio.create_task(close_run(self._driver.run, ending))
        await wait_for_end(closing)
        self._result = result = closing.result()
        return self._end(result)

    async def _drive(self, request: Request) -> Ending | None:
        """The ending, whatever the request is and whatever is broken in here; None = go on."""
        driver, run = self._driver, self._driver.run
        carry = decode_carry(request)
        try:
            run.take(carry.request if carry else decode_request(request))
            if isinstance(request, Received):
                request.forget()
            return await driver.drive(carry)
        except RequestError as error:
            run.target = run.target or read_target(request)
            run.ending = Ending(Status.ERROR, error.reason, error=str(error))
        except Exception as error:  # noqa: BLE001 - uncaught, it would hang the workflow task
            workflow.logger.error("executus: bug in the run", exc_info=error)
            text = f"internal error: {type(error).__name__}: {error}"[:1_000]
            run.ending = Ending(Status.ERROR, Reason.INTERNAL, error=text)
        return run.ending

    def _go_on(self) -> NoReturn:
        """Continue as a new execution."""
        if self._driver.carry is None:  # pragma: no cover - drive has set it
            raise ExecutusError("nothing to go on with")
        workflow.continue_as_new(self._driver.carry)

    def _end(self, result: RunResult) -> RunResult:
        if result.reason is Reason.CANCEL_REQUEST:
            workflow.upsert_memo({"executus": result_head(result)})
            raise asyncio.CancelledError
        if result.status is Status.OK or result.reason is Reason.CANCEL_SIGNAL:
            return result
        raise failure(result)

    # -- signals -------------------------------------------------------------------------------

    # `*said`, because nobody refuses a signal: with too few arguments, or of another kind, a named
    # parameter would fail every workflow task from then on, and no cancel would get through.

    @workflow.signal(name=contracts.SIGNAL_CANCEL)
    def cancel(self, *said: object) -> None:
        """Stop gracefully: the run completes with status cancelled and its partial result.

        Takes a reason and who says it, both optional texts. Whatever else comes stops it, too.
        """
        self._driver.controls.cancel(said)

    @workflow.signal(name=contracts.SIGNAL_STEER)
    def steer(self, *said: object) -> None:
        """Say something to the agent: a user message before its next model call.

        Takes a text and, optionally, who says it. Anything else is noted and not said.
        """
        self._driver.controls.steer(said)

    # -- updates -------------------------------------------------------------------------------

    @workflow.update(name=contracts.UPDATE_RAISE_LIMITS)
    async def raise_limits(self, asked: RaiseLimits) -> LiveState:
        """Raise the run's own token or money limit; a run that paused at it goes on."""
        _refuse(await self._driver.controls.raise_limits(asked), REFUSED_LIMITS)
        return self._driver.run.told()

    @raise_limits.validator
    def _may_raise(self, asked: RaiseLimits) -> None:
        _refuse(self._driver.controls.raise_problem(asked), REFUSED_LIMITS)

    @workflow.update(name=contracts.UPDATE_APPROVE)
    def approve(self, decision: Decision) -> LiveState:
        """Let a tool call that waits for approval be made."""
        self._driver.run.questions.say(decision, yes=True)
        return self._driver.run.told()

    @workflow.update(name=contracts.UPDATE_DENY)
    def deny(self, decision: Decision) -> LiveState:
        """Do not let it be made; the agent is told."""
        self._driver.run.questions.say(decision, yes=False)
        return self._driver.run.told()

    @workflow.update(name=contracts.UPDATE_ANSWER)
    def answer(self, answer: Answer) -> LiveState:
        """Answer what the agent asks by its tool `ask_human`."""
        self._driver.run.questions.say(answer, yes=True)
        return self._driver.run.told()

    @approve.validator
    def _may_approve(self, decision: Decision) -> None:
        _refuse(self._driver.controls.answer_problem(decision), "executus.question")

    @deny.validator
    def _may_deny(self, decision: Decision) -> None:
        _refuse(self._driver.controls.answer_problem(decision), "executus.question")

    @answer.validator
    def _may_answer(self, answer: Answer) -> None:
        _refuse(self._driver.controls.answer_problem(answer), "executus.question")

    @workflow.update(name=contracts.UPDATE_STEER)
    async def steer_until_delivered(self, asked: SteerRequest) -> SteerReceipt:
        """The same as the signal, answered when the message was delivered or never will be."""
        info = workflow.current_update_info()
        return await self._driver.controls.deliver(asked, info.id if info else "")

    @steer_until_delivered.validator
    def _may_steer(self, asked: SteerRequest) -> None:
        problem = self._driver.controls.steer_problem(asked)
        if problem is not None:
            raise ApplicationError(problem, type="executus.steer", non_retryable=True)

    # -- queries -------------------------------------------------------------------------------

    @workflow.query(name=contracts.QUERY_STATE)
    def state(self) -> LiveState:
        """The run at this moment."""
        return self._driver.run.state()

    def page(self) -> str:
        """The live page in the Temporal UI (executus/instances.py answers with it)."""
        return self._driver.run.page()

    @workflow.query(name=contracts.QUERY_TRANSCRIPT)
    def transcript(self, start: int = 0) -> TranscriptPage:
        """Messages from `start` on, at most about 900 KB of them; ask again from where it ends."""
        return self._driver.run.transcript.page(max(0, start), PAGE_BYTES)

    @workflow.query(name=contracts.QUERY_CARRIED)
    def carried(self, start: int = 0) -> TranscriptPage:
        """A page of what the model is shown, for an execution that could not be handed it."""
        return carried_page(self._driver.run.transcript, max(0, start), PAGE_BYTES)

    @workflow.query(name=contracts.QUERY_FORK_POINT)
    def fork_point(self, asked: ForkAsk) -> ForkPoint:
        """Up to where another run can go on from this one's conversation."""
        return fork_point(self._driver.run, asked)

    @workflow.query(name=contracts.QUERY_PLAN)
    def plan(self, plan_digest: str = "") -> RunPlan | None:
        """What was frozen at the start, None before that; or the present phase's, by its digest."""
        return self._driver.run.planned(plan_digest)

    @workflow.query(name=contracts.QUERY_RESULT)
    def result(self) -> RunResult | None:
        """The result, once there is one: for a run that was canceled natively and carries none."""
        return self._result

    @workflow.query(name=contracts.QUERY_STEPS)
    def steps(self, start: int = 0) -> StepsPage:
        """Audit rows of the steps from `start` on, for a close that finds some missing."""
        return late_steps(self._driver.run, start)


def _refuse(problem: str | None, kind: str) -> None:
    """Reject an update: by its validator before it stands in history."""
    if problem is not None:
        raise ApplicationError(problem, type=kind, non_retryable=True)
