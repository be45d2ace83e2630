"""What is delivered when a run ends, and what came of it."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field, JsonValue

from executus.data import Data
from executus.delivery_target import DeliveryTarget
from executus.files import FileRef
from executus.status import Status


class RunOutcome(Data):
    """A run's outcome as a receiver sees it. Fields that a later version adds are ignored."""

    model_config = ConfigDict(extra="ignore")

    run_id: str
    """The run."""
    agent: str = ""
    """Its agent's name."""
    caller_id: str = ""
    """Who asked."""
    tenant_id: str = ""
    """Their organisation."""
    channel_id: str = ""
    """Where it was asked."""
    status: Status
    """The outcome class."""
    reason: str
    """Which way; `executus.status.Reason` is the closed set of this version."""
    output: str = ""
    """The answer, or the best partial answer there is."""
    structured: JsonValue = None
    """The validated value when the agent has an `output_schema`."""
    error: str | None = None
    """One sentence for people; None when the status is ok."""
    files: tuple[FileRef, ...] = ()
    """What tools made: fetched from the host's store by `id`, never part of the event."""
    iterations: int = 0
    """Model turns used."""
    steps_total: int = 0
    """Steps in all."""
    usage: dict[str, int] = Field(default_factory=dict)
    """Sum over the run; the fields of `executus.usage.Usage`."""
    cost_micro_usd: int | None = None
    """Sum over the run in micro-USD; None when a price is not known."""
    started_at: datetime
    """When the run started working (UTC)."""
    ended_at: datetime
    """When its outcome was fixed (UTC)."""
    truncated: bool = False
    """Whether the output was cut, or `structured` or `files` left out, to keep the size."""


class DeliveryEvent(Data):
    """What is delivered, in the envelope that Standard Webhooks suggests."""

    model_config = ConfigDict(extra="ignore")

    id: str = ""
    """The same at every attempt, by whomever; another outcome of the same run has another one (as
    after a reset). A receiver that has seen it is done."""
    type: Literal["run.ended"] = "run.ended"
    """What happened."""
    timestamp: datetime
    """When (UTC)."""
    data: RunOutcome
    """The rest."""


class DeliveryItem(Data):
    """One event on its way to one target."""

    target: DeliveryTarget
    """Where to."""
    event: DeliveryEvent
    """What."""

    @property
    def id(self) -> str:
        """The delivery."""
        return self.event.id

    @property
    def run_id(self) -> str:
        """The run."""
        return self.event.data.run_id

    @property
    def body(self) -> bytes:
        """The event as JSON: the same bytes at every attempt."""
        return self.event.model_dump_json().encode()


class DeliveryReceipt(Data):
    """Proof that a delivery landed."""

    id: str
    """The delivery: what a webhook's receiver saw as `webhook-id`."""
    target: str
    """`DeliveryTarget.shown`."""
    delivered_at: datetime
    """When (UTC, the delivering worker's clock)."""
    attempts: int = Field(default=1, ge=1)
    """Attempts it took."""
    status_code: int | None = None
    """A webhook's answer."""


class DeadLetter(Data):
    """A delivery that did not land, kept until somebody sends it again."""

    id: str
    """The delivery."""
    run_id: str
    """The run."""
    target: str
    """`DeliveryTarget.shown`."""
    status: str
    """The run's outcome class."""
    attempts: int = Field(ge=0)
    """Attempts so far; 0 when no worker came to make one."""
    error: str
    """Why the last one failed."""
    status_code: int | None = None
    """A webhook's last answer."""
    failed_at: datetime
    """When the last one failed (UTC)."""
    delivered_at: datetime | None = None
    """When it landed after all (UTC); then the item is gone."""
    item: DeliveryItem | None = None
    """What to send, unredacted: it is what the receiver was to get."""
