"""What is delivered when a run ends, and what came of it."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field, JsonValue

from executus.data import Data
from executus.delivery_target import DeliveryTarget
from executus.digest import digest
from executus.invocation import Invocation
from executus.result import RunResult
from executus.sanitize import cap_text
from executus.status import Status

MAX_EVENT_BYTES = 262_144
"""JSON bytes of what is delivered; a larger output is cut, and the event says so."""
MAX_ERROR_BYTES = 4_096


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
    """Whether the output was cut, or `structured` left out, to keep the size."""


class DeliveryEvent(Data):
    """What is delivered, in the envelope that Standard Webhooks suggests."""

    model_config = ConfigDict(extra="ignore")

    id: str = ""
    """The same at every attempt, by whomever; another outcome of the same run has another one. A
    receiver that has seen it is done."""
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


def delivery_item(
    target: DeliveryTarget,
    result: RunResult,
    invocation: Invocation,
    *,
    agent: str,
    workflow_run_id: str,
) -> DeliveryItem:
    """What is delivered of a result, within its size.

    `workflow_run_id` is Temporal's first execution run id: it tells two runs of one id apart.
    """
    outcome = RunOutcome(
        run_id=result.run_id,
        agent=agent,
        caller_id=invocation.caller_id,
        tenant_id=invocation.tenant_id,
        channel_id=invocation.channel_id,
        status=result.status,
        reason=result.reason.value,
        output=result.output,
        structured=result.structured,
        error=cap_text(result.error, MAX_ERROR_BYTES).text if result.error else None,
        iterations=result.iterations,
        steps_total=result.steps_total,
        usage=result.usage.model_dump(),
        cost_micro_usd=result.cost_micro_usd,
        started_at=result.started_at,
        ended_at=result.ended_at,
    )
    event = _fitted(DeliveryEvent(timestamp=result.ended_at, data=outcome))
    named = f"{workflow_run_id} {target.model_dump_json()} {event.model_dump_json()}"
    event = event.model_copy(update={"id": f"run_{digest(named.encode())}"})
    return DeliveryItem(target=target, event=event)


def _fitted(event: DeliveryEvent) -> DeliveryEvent:
    """The event with its output cut until it fits; `structured` goes first: half of one is none."""
    limit, fitted = MAX_EVENT_BYTES * 2, event
    while limit and len(fitted.model_dump_json().encode()) > MAX_EVENT_BYTES:
        limit //= 2
        output = cap_text(event.data.output, limit).text
        cut = {"structured": None, "output": output, "truncated": True}
        fitted = event.model_copy(update={"data": event.data.model_copy(update=cut)})
    return fitted
