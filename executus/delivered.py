"""What a run tried to deliver, as its history tells."""

from typing import Any, NamedTuple

from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowHandle

from executus.delivery_contracts import DELIVER, Delivered, DeliverInput
from executus.errors import ConfigError
from executus.letter import DeliveryItem, DeliveryReceipt


class Tried(NamedTuple):
    """What an execution did to deliver by itself."""

    items: dict[str, DeliveryItem]
    """By id, the newest last; empty when it did not come to it."""
    receipt: DeliveryReceipt | None = None
    """It landed, and the run was told."""


async def tried(
    client: Client, handle: WorkflowHandle[Any, Any], item_id: str | None = None
) -> Tried:
    """What an execution tried to deliver; with `item_id` only that one.

    Raises:
        ConfigError: the history does not read here.
    """
    items: dict[str, DeliveryItem] = {}
    scheduled: set[int] = set()
    async for event in handle.fetch_history_events():
        activity = event.activity_task_scheduled_event_attributes
        done = event.activity_task_completed_event_attributes
        if activity.activity_type.name == DELIVER:
            item = (await read_payload(client, activity.input.payloads[0], DeliverInput)).item
            if item_id in {None, item.id}:
                scheduled.add(event.event_id)
                items[item.id] = item
        elif done.scheduled_event_id in scheduled:
            delivered = await read_payload(client, done.result.payloads[0], Delivered)
            if delivered.receipt is not None:
                return Tried(items, delivered.receipt)
    return Tried(items)


async def read_payload(client: Client, payload: Payload, kind: Any) -> Any:  # noqa: ANN401 - of that kind
    """What stands in a history.

    Raises:
        ConfigError: it does not read here; the message repeats nothing of it.
    """
    try:
        [found] = await client.data_converter.decode([payload], None if kind is None else [kind])
    except Exception as error:  # noqa: BLE001 - a codec of the host's may raise anything
        raise ConfigError(
            f"its history does not read here ({type(error).__name__}), so its delivery would be "
            "lost: sweep where its data converter is, as its workers do"
        ) from None
    return found
