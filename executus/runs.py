"""Runs: start agent runs and turn every ending back into a RunResult.

An ordinary Temporal client does all of this too; this is the short way.
"""

import asyncio
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager

from pydantic import ValidationError
from temporalio.client import (
    Client,
    WorkflowHandle,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import (
    WorkflowAlreadyStartedError,
)
from temporalio.service import RPCError, RPCStatusCode

from executus.agent import RunnableAgent
from executus.contracts import (
    SIGNAL_CANCEL,
    SIGNAL_STEER,
    UPDATE_ANSWER,
    UPDATE_APPROVE,
    UPDATE_DENY,
    UPDATE_RAISE_LIMITS,
    UPDATE_STEER,
    RaiseLimits,
)
from executus.data import Data, json_bytes
from executus.endings import QUERY_SECONDS, read_ending, read_state
from executus.errors import RequestError
from executus.explain import explain
from executus.files import FileScope
from executus.forks import fork_request
from executus.message import InputFile
from executus.origin import Origin
from executus.ports import Files
from executus.question import Answer, Decision
from executus.request import MAX_REQUEST_BYTES, RunRequest
from executus.result import RunResult
from executus.sanitize import clean_line
from executus.staging import stage
from executus.state import LiveState
from executus.status import Reason
from executus.steer import SteerReceipt, SteerRequest
from executus.updates import update
from executus.workflows.agent_run import AgentRun

FIRST_QUERY_SECONDS = 3.0
PASSING = frozenset(
    {
        RPCStatusCode.CANCELLED,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.FAILED_PRECONDITION,
    }
)
"""What a query hears that meets a run as it is continued as new: the old execution loses it, or the
new one has no workflow task yet. Asked again a moment later, it is answered."""
QUERY_PAUSE = 0.1
"""Seconds before it is asked again."""


class Runs:
    """Agent runs of one client and task queue."""

    def __init__(
        self, client: Client, task_queue: str = "executus", *, files: Files | None = None
    ) -> None:
        """`client` needs the ExecutusPlugin, or at least the pydantic data converter.

        `files` is the workers' own file store: with it, attached files of up to 50,000,000 bytes
        go there before a run starts, and none of their content through Temporal.
        """
        self._client = client
        self._task_queue = task_queue
        self._files = files

    @property
    def client(self) -> Client:
        """What it asks Temporal with."""
        return self._client

    async def start(
        self, request: RunRequest, *, static_summary: str | None = None
    ) -> WorkflowHandle[AgentRun, RunResult]:
        """Start a run; the same run id again gives the same run, also after it has ended.

        Raises:
            RequestError: the request is too large.
        """
        agent = request.agent if isinstance(request.agent, str) else request.agent.name
        run_id = request.invocation.run_id or f"{agent[:100]}-{uuid.uuid4()}"
        if self._files is not None and request.invocation.files:
            request = await _staged(self._files, request, run_id)
        _check_size(request)
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

    async def fork(
        self,
        origin: Origin,
        *,
        agent: RunnableAgent | str | None = None,
        model_tier: str | None = None,
        prompt: str = "",
        run_id: str | None = None,
        caller_id: str | None = None,
    ) -> WorkflowHandle[AgentRun, RunResult]:
        """Start a new run from the conversation of another (`executus.forks.fork_request`).

        Raises:
            UserError: Temporal has forgotten that run, and no agent or caller is given.
        """
        request = await fork_request(
            self._client,
            origin,
            agent=agent,
            model_tier=model_tier,
            prompt=prompt,
            run_id=run_id,
            caller_id=caller_id,
        )
        return await self.start(request)

    async def run(self, request: RunRequest) -> RunResult:
        """Start a run and wait for its end. Never raises for how the run ends.

        Raises:
            RequestError: as `start` does.
            RPCError: as `result` does. With a run id of your own the same call finds the run again;
                without one it starts another.
        """
        handle = await self.start(request)
        return await self.result(handle.id)

    async def result(self, run_id: str) -> RunResult:
        """Wait for the end of a run, whatever it is.

        Raises:
            RPCError: Temporal does not answer, or knows no such run. One that it knows goes on:
                ask for the same run again.
        """
        return await read_ending(self._client.get_workflow_handle(run_id, result_type=RunResult))

    async def state(self, run_id: str) -> LiveState:
        """A run at this moment; also after its end, while its history is kept.

        Raises:
            RPCError: there is no such run, or no worker that can tell.
        """
        handle = self._client.get_workflow_handle(run_id)
        until, seconds = time.monotonic() + QUERY_SECONDS, FIRST_QUERY_SECONDS
        while True:
            try:
                return await read_state(handle, seconds)
            except RPCError as error:
                if error.status not in PASSING or time.monotonic() > until:
                    raise
            await asyncio.sleep(QUERY_PAUSE)
            seconds = QUERY_SECONDS

    async def cancel(self, run_id: str, reason: str = "", *, by: str = "") -> None:
        """Stop a run gracefully: it completes with status cancelled and its partial result.

        `by` is who stops it; the run's result and its record say so.
        """
        await self._client.get_workflow_handle(run_id).signal(SIGNAL_CANCEL, args=[reason, by])

    async def steer(self, run_id: str, text: str, *, by: str = "") -> None:
        """Say something to a running agent: a user message before its next model call.

        Raises:
            RequestError: nothing is said, or by a name of more than 255 characters.
            RPCError: there is no such run, or it has ended.
        """
        _said(text, by)
        await self._client.get_workflow_handle(run_id).signal(SIGNAL_STEER, args=[text, by])

    async def steer_and_wait(
        self, run_id: str, text: str, *, by: str = "", message_id: str | None = None
    ) -> SteerReceipt:
        """The same, answered when the message was delivered, or never will be.

        `message_id`: give one to be able to send it again without it being said twice.

        Raises:
            UserError: there is no such run, it has ended, it takes no messages (it is stopping, or
                too many wait), or no worker serves it; or as `steer` does.
        """
        asked = _said(text, by)
        return await update(
            self._client, run_id, UPDATE_STEER, asked, answer=SteerReceipt, update_id=message_id
        )

    async def approve(self, run_id: str, decision: Decision) -> LiveState:
        """Let a tool call that waits for approval be made.

        Raises:
            UserError: nothing waits there, it is another call, or it is too late.
        """
        return await self._update(run_id, UPDATE_APPROVE, decision)

    async def deny(self, run_id: str, decision: Decision) -> LiveState:
        """Do not let it be made; the agent is told. Raises as `approve` does."""
        return await self._update(run_id, UPDATE_DENY, decision)

    async def answer(self, run_id: str, answer: Answer) -> LiveState:
        """Answer what an agent asks by `ask_human`. Raises as `approve` does."""
        return await self._update(run_id, UPDATE_ANSWER, answer)

    async def raise_limits(
        self,
        run_id: str,
        *,
        tokens: int | None = None,
        micro_usd: int | None = None,
        iterations: int | None = None,
        by: str = "",
    ) -> LiveState:
        """Raise a running run's own limits; one that paused at them goes on.

        Raises:
            UserError: the run has ended or gives its last answer, or the limit is not above the
                present one.
        """
        with _valid(RaiseLimits):
            asked = RaiseLimits(tokens=tokens, micro_usd=micro_usd, iterations=iterations, by=by)
        return await self._update(run_id, UPDATE_RAISE_LIMITS, asked)

    async def _update(self, run_id: str, name: str, asked: Data) -> LiveState:
        return await update(self._client, run_id, name, asked, answer=LiveState)


@contextmanager
def _valid(kind: type[Data]) -> Generator[None]:
    """Make a `kind` inside; what does not validate is a RequestError that names its fields."""
    try:
        yield
    except ValidationError as error:
        raise RequestError(explain(error, kind)) from None


def _said(text: str, by: str) -> SteerRequest:
    """What is said to a run, by signal as by update."""
    with _valid(SteerRequest):
        asked = SteerRequest(text=text, by=by)
    if not text.strip():
        raise RequestError("nothing to say: the text is empty")
    return asked


async def _staged(store: Files, request: RunRequest, run_id: str) -> RunRequest:
    """The request with its files in the store, and what could not be brought there."""
    asked = request.invocation
    scope = FileScope(run_id=run_id, caller_id=asked.caller_id, tenant_id=asked.tenant_id)
    done = await stage(store, scope, asked.files)
    dropped = (*asked.dropped_files, *done.dropped)
    invocation = asked.model_copy(update={"files": done.kept, "dropped_files": dropped})
    return request.model_copy(update={"invocation": invocation})


def _check_size(request: RunRequest) -> None:
    size = json_bytes(request)
    if size <= MAX_REQUEST_BYTES:
        return
    text = f"the request has {size:,} bytes; the limit is {MAX_REQUEST_BYTES:,}"
    if any(isinstance(file, InputFile) for file in request.invocation.files):
        text += "; bring its files into the workers' store first: Runs(client, files=...)"
    raise RequestError(text, reason=Reason.TOO_LARGE)
