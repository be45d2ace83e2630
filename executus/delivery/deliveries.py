"""Deliveries: the port, as one delivery for each kind of target."""

from collections.abc import Mapping

from executus.delivery_target import DeliveryTarget
from executus.errors import DeliveryError
from executus.letter import DeliveryItem, DeliveryReceipt
from executus.ports import Delivery


class Deliveries:
    """Sends each target to the delivery of its kind; the host names the kinds."""

    def __init__(self, kinds: Mapping[str, Delivery]) -> None:
        """Such as `{"webhook": Webhook(...), "file": FileDelivery(...)}`."""
        self._kinds = dict(kinds)

    def problem(self, target: DeliveryTarget) -> str | None:
        """Why nothing can be delivered there, if so: the thing, the known set, the way out."""
        delivery = self._kinds.get(target.kind)
        if delivery is None:
            known = ", ".join(sorted(self._kinds)) or "none"
            return f"unknown kind of delivery `{target.kind}`; this host has: {known}"
        return delivery.problem(target)

    async def deliver(self, item: DeliveryItem) -> DeliveryReceipt:
        """Deliver once, by the delivery of its kind.

        Raises:
            DeliveryError: it did not land.
        """
        problem = self.problem(item.target)
        if problem is not None:
            raise DeliveryError(problem, permanent=True)
        return await self._kinds[item.target.kind].deliver(item)
