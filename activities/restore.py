"""`executus.restore`: read what an earlier execution of the run was too large to hand over."""

from datetime import timedelta

from temporalio import activity

from executus.contracts import QUERY_CARRIED, RESTORE, RestoreInput
from executus.transcript import TranscriptPage

QUERY_SECONDS = 60.0
"""A closed execution is replayed to answer: seconds for some thousand events."""


@activity.defn(name=RESTORE)
async def restore(asked: RestoreInput) -> TranscriptPage:
    """A page of the messages that the earlier execution showed its model."""
    workflow_id = activity.info().workflow_id or ""
    handle = activity.client().get_workflow_handle(workflow_id, run_id=asked.execution)
    page: TranscriptPage = await handle.query(
        QUERY_CARRIED,
        asked.start,
        result_type=TranscriptPage,
        rpc_timeout=timedelta(seconds=QUERY_SECONDS),
    )
    return page
