"""Fork: where a conversation can be taken up by another run, and taking it up."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from executus import contracts
from executus.errors import RunError
from executus.fork_end import before_answer, consistent, whole_turn, without_phase
from executus.origin import ForkAsk, ForkPoint, OriginInput, OriginPage
from executus.request import RunRequest
from executus.sanitize import clean_line
from executus.status import Reason, Status
from executus.steer import MAX_BY
from executus.workflows.opening import has_content
from executus.workflows.perform import Options, perform
from executus.workflows.run import Run

CLOSED = ".closing"
"""End of the step id of a closing answer, which is of no iteration."""
READ_SECONDS = 300.0
"""For reading the other run: a closed one is replayed to answer."""


def fork_point(run: Run, asked: ForkAsk) -> ForkPoint:
    """Up to where this execution's conversation goes with, or before, a step."""
    messages, ledger = run.transcript.messages, run.ledger
    point = ForkPoint(
        caller_id=run.invocation.caller_id,
        tenant_id=run.invocation.tenant_id,
        files_roots=run.files_roots,
    )
    end = len(messages)
    if asked.step_id is not None:
        turn = asked.step_id.partition(".")[0]
        turns = [
            index
            for step_id, index in ledger.messages.items()
            if step_id.partition(".")[0] == turn and ".t" not in step_id and CLOSED not in step_id
        ]
        if not turns:
            earlier = workflow.info().continued_run_id
            done = ", ".join(s for s in ledger.messages if "." not in s) or "none"
            why = f"step {asked.step_id} is not there, or brought no message; model turns: {done}"
            return point.model_copy(update={"earlier": earlier, "problem": why})
        end = whole_turn(messages, max(turns))
    end = consistent(messages[:end])
    if asked.drop_answer:
        end = before_answer(messages[:end])
    if end == 0:
        return point.model_copy(update={"problem": "it has no conversation yet"})
    return point.model_copy(update={"end": end})


async def take_up(run: Run, request: RunRequest) -> None:
    """Begin with another run's conversation.

    Raises:
        RunError: it cannot be had.
    """
    origin = request.origin
    if origin is None:
        return
    asked = OriginInput(
        origin=origin,
        caller_id=request.invocation.caller_id,
        tenant_id=request.invocation.tenant_id,
        drop_answer=not asks_something(request),
    )
    options = Options(whole=READ_SECONDS, attempt=READ_SECONDS, attempts=5, longest_pause=10.0)
    at = f" at {origin.step_id}" if origin.step_id else ""
    while True:
        try:
            page = await perform(
                contracts.ORIGIN, asked, OriginPage, options, f"{origin.run_id}{at}"[:200]
            )
        except ActivityError as error:
            raise _failed(error) from None
        run.files_also = page.files_roots or run.files_also
        for message in page.messages:
            run.transcript.append(without_phase(message))
        if len(run.transcript) >= page.total or not page.messages:
            break
        start = len(run.transcript)
        update = {"source": page.source, "start": start, "total": page.total}
        asked = asked.model_copy(update=update)
    digest = run.transcript.cursor.head
    run.event(
        "forked",
        f"goes on from {origin.run_id}{at}: {len(run.transcript)} messages",
        run_id=origin.run_id,
        step=origin.step_id,
        execution=page.source,
        digest=digest,
        by=clean_line(origin.by, MAX_BY),
    )


def asks_something(request: RunRequest) -> bool:
    """Whether something new is asked."""
    return has_content(request.invocation)


def _failed(error: ActivityError) -> BaseException:
    if is_cancelled_exception(error):
        return asyncio.CancelledError()
    cause = error.cause
    text = cause.message if isinstance(cause, ApplicationError) else str(cause or error)
    refused = isinstance(cause, ApplicationError) and cause.type == contracts.ORIGIN
    reason = Reason.INVALID_REQUEST if refused else Reason.PORT_FAILED
    return RunError(Status.ERROR, reason, f"cannot go on from another run: {text}")
