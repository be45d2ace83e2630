"""Delivery: where a run's outcome goes when nobody waits for it.

`Deliveries` is the port, one delivery per kind; `verify` is for those who receive webhooks.
"""

from executus.delivery.deliveries import Deliveries
from executus.delivery.egress import Egress
from executus.delivery.file_delivery import FileDelivery
from executus.delivery.signature import verify
from executus.delivery.stdout import Stdout
from executus.delivery.webhook import Endpoint, Webhook

__all__ = ["Deliveries", "Egress", "Endpoint", "FileDelivery", "Stdout", "Webhook", "verify"]
