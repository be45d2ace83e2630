"""Let the host keep copies of a run: now and then while it runs, and in every ending."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from executus import contracts
from executus.checkpoint import Checkpoint, CheckpointInput
from executus.message import Message
from executus.status import Status
from executus.workflows.perform import Nothing, Options, perform
from executus.workflows.run import Run

PATCH_CUT_OFF = "executus.save.cut-off"
SAVE_SECONDS = 20.0
"""For one copy; a run does not wait longer for its host's store."""


def is_due(run: Run) -> bool:
    """Whether a copy is wanted now. A save that failed does not count, so the next one is."""
    plan = run.plan
    if plan is None or "checkpointer" not in plan.wired:
        return False
    pause = timedelta(seconds=plan.bounds.checkpoint_seconds)
    return run.saved_at is None or workflow.now() >= run.saved_at + pause


def is_stale(run: Run) -> bool:
    """Whether the newest copy lacks something; an outcome always is something."""
    plan = run.plan
    return plan is not None and "checkpointer" in plan.wired and len(run.transcript) > 0


async def save(
    run: Run, tail: Sequence[str] = (), inline: Sequence[Message] = (), status: Status | None = None
) -> str | None:
    """Save a copy; why it did not land, if it did not. The run goes on either way.

    Raises:
        CancelledError: the run is being stopped, or the time of its phase is up.
    """
    asked = CheckpointInput(
        key=run.key,
        cursor=run.transcript.cursor,
        tail=tuple(tail),
        inline=tuple(inline),
        checkpoint=_checkpoint(run, status),
    )
    options = Options(whole=SAVE_SECONDS, attempt=SAVE_SECONDS, attempts=3, longest_pause=5.0)
    summary = f"{len(run.transcript)} messages, {asked.checkpoint.status}"
    try:
        await perform(contracts.CHECKPOINT, asked, Nothing, options, summary)
    except ActivityError as error:
        if is_cancelled_exception(error):
            # A task that ends in anything else was not cut off, and a phase of it broke the run.
            if workflow.patched(PATCH_CUT_OFF):
                raise asyncio.CancelledError from None
            raise
        return str(error.cause or error)
    run.saved_at = workflow.now()
    return None


def _checkpoint(run: Run, status: Status | None) -> Checkpoint:
    return Checkpoint(
        run_id=run.key.run_id,
        workflow_run_id=run.key.workflow_run_id,
        files_roots=run.files_roots,
        caller_id=run.invocation.caller_id,
        tenant_id=run.invocation.tenant_id,
        agent_id=run.plan.agent_id if run.plan else "",
        status=status.value if status else "running",
        iteration=run.iteration,
        steps_total=run.ledger.total,
        usage=run.ledger.usage,
        cost_micro_usd=run.ledger.cost_micro_usd,
        at=workflow.now(),
    )
