"""`executus.checkpoint`: hand a copy of a run to its host."""

from temporalio import activity

from executus.activities.conversation import Conversations
from executus.activities.heartbeat import beating
from executus.activities.host import Host
from executus.checkpoint import CheckpointInput
from executus.contracts import CHECKPOINT


class SaveCheckpoint:
    """Puts the conversation, which no input carries, to the rest of the copy."""

    def __init__(self, host: Host, conversations: Conversations) -> None:
        self._host = host
        self._conversations = conversations

    @activity.defn(name=CHECKPOINT)
    async def checkpoint(self, asked: CheckpointInput) -> None:
        """Save; a store that is down raises, and Temporal tries again."""
        store = self._host.ports.checkpointer
        if store is None:
            return
        async with beating():
            items = await self._conversations.load(
                asked.key, asked.cursor, asked.tail, asked.inline
            )
            messages = tuple(item.message for item in items)
            await store.save(asked.checkpoint.model_copy(update={"messages": messages}))
