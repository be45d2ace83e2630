"""What Temporal tells of an activity that is under way."""

from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client
from temporalio.exceptions import FailureError


async def last_failure(client: Client, pending: PendingActivityInfo) -> str:
    """What its last attempt failed with; empty: none has. A codec may have encrypted that."""
    if not pending.HasField("last_failure"):
        return ""
    decoded = await client.data_converter.decode_failure(pending.last_failure)
    message = decoded.message if isinstance(decoded, FailureError) else ""
    return message or str(decoded)
