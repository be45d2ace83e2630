"""Send a run an update, and wait for what it says."""

import asyncio
import time
import uuid
from datetime import timedelta
from typing import Any, TypeVar

from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.exceptions import FailureError
from temporalio.service import RPCError, RPCStatusCode

from executus.data import Data
from executus.errors import UserError

ACCEPT_SECONDS = 15.0
"""For a worker to take an update up. Temporal's client asks for ever, and the server keeps an
update in memory only until then: without an end, a run that no worker serves hangs its caller."""

PASSING = frozenset({RPCStatusCode.RESOURCE_EXHAUSTED, RPCStatusCode.FAILED_PRECONDITION})
"""What a server answers that takes no update of a run just now: ten are on their way, or the run
goes on as a new execution. Asked again with the same id, nothing is said twice."""
ABORTED = "update was aborted"
"""The same of one that it had taken, and dropped with the workflow task that was to bring it; the
status is UNAVAILABLE, as of a server that cannot be reached."""
COMPLETED = "workflow execution already completed"
"""What a server says of a run that has ended; of one that is not there it has the same status."""
LONGEST_PAUSE = 2.0
"""Seconds between two such tries: 0.1, doubling up to this."""

Said = TypeVar("Said", bound=Data)


async def update(
    client: Client,
    run_id: str,
    name: str,
    asked: Data,
    *,
    answer: type[Said],
    update_id: str | None = None,
) -> Said:
    """What a run answers to an update; with the same `update_id` again, what it answered then.

    Raises:
        UserError: the run refuses it, has ended, is not known, no worker took it up, or the server
            takes no more of them now.
        RPCError: the server cannot be reached.
    """
    handle = client.get_workflow_handle(run_id)
    own_id = update_id or uuid.uuid4().hex
    try:
        sent = await _accepted(handle, name, asked, answer, own_id)
        said: Said = await sent.result()
    except WorkflowUpdateFailedError as error:
        # What the run says; str() would put the failure's type before it.
        said_no = error.cause
        text = said_no.message if isinstance(said_no, FailureError) else str(said_no)
        raise UserError(f"run {run_id}: {text}") from None
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        if isinstance(error.__cause__, asyncio.CancelledError):
            raise asyncio.CancelledError from None
        text = f"run {run_id}: no worker took this up within {ACCEPT_SECONDS:g} s, so it did not "
        raise UserError(text + "count; start one (executus worker) and say it again") from None
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise refused(run_id, error) from None
        if _passes(error):
            raise UserError(f"run {run_id}: {error.message}; say it again later") from None
        raise
    return said


def refused(run_id: str, error: RPCError) -> UserError:
    """What Temporal says of a run in the words of whoever asked: it is not there, or has ended."""
    if error.status is not RPCStatusCode.NOT_FOUND:
        return UserError(f"run {run_id}: {error.message}")
    if COMPLETED in error.message:
        return UserError(f"run `{run_id}` has ended; its result: executus run --id {run_id}")
    return UserError(f"no run `{run_id}` here; `executus audit list` shows them")


async def _accepted(
    handle: WorkflowHandle[Any, Any], name: str, asked: Data, answer: type[Said], update_id: str
) -> WorkflowUpdateHandle[Said]:
    """The update, once the run has accepted it.

    Raises:
        RPCError: the server takes none, and that did not pass in time.
    """
    until, pause = time.monotonic() + ACCEPT_SECONDS, 0.1
    while True:
        try:
            return await handle.start_update(  # pyright: ignore[reportUnknownMemberType]
                name,
                asked,
                wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                id=update_id,
                result_type=answer,
                rpc_timeout=timedelta(seconds=ACCEPT_SECONDS),
            )
        except RPCError as error:
            if not _passes(error) or time.monotonic() + pause > until:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _passes(error: RPCError) -> bool:
    aborted = error.status is RPCStatusCode.UNAVAILABLE and ABORTED in error.message
    return aborted or error.status in PASSING
