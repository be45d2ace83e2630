"""Names, inputs and outputs of the activities that deliver; durable, as in `executus.contracts`."""

from pydantic import Field

from executus.data import Data, empty
from executus.letter import DeadLetter, DeliveryItem, DeliveryReceipt

DELIVER = "executus.deliver"
DELIVER_KEEP = "executus.deliver.keep"

DELIVERY_ERROR = "executus.delivery_error"
"""Failure type of the deliver activity; `details[0]` is a `DeliveryTrouble`."""


class DeliverInput(Data):
    """Input of `executus.deliver`."""

    item: DeliveryItem
    """What, and where to."""
    seconds: float = Field(gt=0)
    """Time budget of all attempts, from when the activity was scheduled."""
    workflow_run_id: str = Field(default="", exclude_if=empty)
    """Temporal's first execution run id, of a run that was reset: what an earlier execution
    delivered is not delivered again."""


class Delivered(Data):
    """Output of `executus.deliver`."""

    receipt: DeliveryReceipt | None = None
    """None: the host delivers nothing."""


class DeliveryTrouble(Data):
    """Why a delivery did not land; detail of a `DELIVERY_ERROR` failure."""

    error: str
    """For people, scrubbed."""
    attempts: int = 0
    """Attempts made."""
    status_code: int | None = None
    """A webhook's answer to the last one."""
    refused: bool = False
    """The host delivers nothing to such a target."""


class KeepInput(Data):
    """Input of `executus.deliver.keep`."""

    letter: DeadLetter
    """What did not land."""


class Kept(Data):
    """Output of `executus.deliver.keep`."""

    kept: bool
    """False: the host keeps no dead letters."""
