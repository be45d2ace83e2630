"""Put a run's result into the envelope in which it is delivered."""

from executus.data import json_bytes
from executus.delivery_target import DeliveryTarget
from executus.digest import digest
from executus.invocation import Invocation
from executus.letter import DeliveryEvent, DeliveryItem, RunOutcome
from executus.result import RunResult
from executus.sanitize import cap_text, json_text

MAX_EVENT_BYTES = 262_144
"""JSON bytes of what is delivered; a larger output is cut, and the event says so."""
MAX_ERROR_BYTES = 4_096


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
        files=result.files,
        iterations=result.iterations,
        steps_total=result.steps_total,
        usage=result.usage.model_dump(),
        cost_micro_usd=result.cost_micro_usd,
        started_at=result.started_at,
        ended_at=result.ended_at,
    )
    event = _fitted(DeliveryEvent(timestamp=result.ended_at, data=outcome))
    # Not the digest of the whole: two sweepers may have counted a dead run's steps differently. And
    # no time: a run that was reset and came to the same end has nothing new to tell.
    outcome_key = [
        *(workflow_run_id, result.run_id, result.status.value, result.reason.value),
        *(result.output, result.structured, result.error, [file.id for file in result.files]),
    ]
    named = f"{json_text(outcome_key)}\n{target.model_dump_json()}"
    event = event.model_copy(update={"id": f"run_{digest(named.encode())}"})
    return DeliveryItem(target=target, event=event)


def _fitted(event: DeliveryEvent) -> DeliveryEvent:
    """The event with its output cut until it fits.

    `structured` goes first, since half of one is none, and `files` last.
    """
    limit, fitted = MAX_EVENT_BYTES * 2, event
    while limit and json_bytes(fitted) > MAX_EVENT_BYTES:
        limit //= 2
        output = cap_text(event.data.output, limit).text
        files = event.data.files if limit else ()
        cut = {"structured": None, "output": output, "files": files, "truncated": True}
        fitted = event.model_copy(update={"data": event.data.model_copy(update=cut)})
    return fitted
