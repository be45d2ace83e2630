"""Send a run an update, and wait for what it says."""

import asyncio
import uuid
from datetime import timedelta
from typing import TypeVar

from temporalio.client import (
    Client,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.service import RPCError, RPCStatusCode

from executus.data import Data
from executus.errors import UserError

ACCEPT_SECONDS = 15.0
"""For a worker to take an update up. Temporal's client asks for ever, and the server keeps an
update in memory only until then: without an end, a run that no worker serves hangs its caller."""

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
        UserError: the run refuses it, has ended, is not known, or no worker took it up.
        RPCError: the server cannot be reached.
    """
    handle = client.get_workflow_handle(run_id)
    try:
        sent = await handle.start_update(  # pyright: ignore[reportUnknownMemberType]
            name,
            asked,
            wait_for_stage=WorkflowUpdateStage.ACCEPTED,
            id=update_id or uuid.uuid4().hex,
            result_type=answer,
            rpc_timeout=timedelta(seconds=ACCEPT_SECONDS),
        )
        said: Said = await sent.result()
    except WorkflowUpdateFailedError as error:
        raise UserError(str(error.cause)) from None
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        if isinstance(error.__cause__, asyncio.CancelledError):
            raise asyncio.CancelledError from None
        text = f"run {run_id}: no worker took this up within {ACCEPT_SECONDS:g} s, so it did not "
        raise UserError(text + "count; start one (executus worker) and say it again") from None
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise UserError(f"run {run_id}: {error.message}") from None
    return said
