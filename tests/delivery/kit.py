"""Items to deliver, and a webhook that may talk to this machine."""

from datetime import UTC, datetime
from typing import Any

from executus import Invocation, Reason, RunResult, Status
from executus.delivery import Egress, Endpoint, Webhook
from executus.delivery_target import DeliveryTarget
from executus.envelope import delivery_item
from executus.letter import DeliveryItem

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HERE = ("127.0.0.0/8", "::1/128")


def result(run_id: str = "run-1", **fields: Any) -> RunResult:
    base = {"status": Status.OK, "reason": Reason.ANSWER, "output": "done", "ended_at": NOW}
    return RunResult(run_id=run_id, started_at=NOW, **{**base, **fields})


def item(kind: str = "webhook", address: str = "", **fields: Any) -> DeliveryItem:
    target = DeliveryTarget(kind=kind, address=address)
    invocation = Invocation(caller_id="ann", channel_id="room-1")
    return delivery_item(target, result(**fields), invocation, agent="helper", workflow_run_id="w1")


def webhook(url: str = "https://example.com/x", **options: Any) -> Webhook:
    """One endpoint `here`, signed with `SECRET`."""
    options.setdefault("egress", Egress(networks=HERE))
    endpoints = {"here": Endpoint(url, "HOOK_SECRET")}
    return Webhook(endpoints, secrets={"HOOK_SECRET": SECRET}, **options)
