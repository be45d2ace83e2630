"""All activities of a host, ready to register."""

from collections.abc import Callable
from typing import Any

from executus.activities.checkpoint import SaveCheckpoint
from executus.activities.child_result import child_result
from executus.activities.compact import Compact
from executus.activities.conversation import Conversations
from executus.activities.critic import CriticActivity
from executus.activities.deliver import DeliverActivities
from executus.activities.files import FileActivities
from executus.activities.host import Host
from executus.activities.model import ModelStep
from executus.activities.origin import ReadOrigin
from executus.activities.ports import PortActivities
from executus.activities.records import Records
from executus.activities.resolve import Resolve
from executus.activities.restore import restore
from executus.activities.tool import ToolActivities


def every_activity(host: Host) -> list[Callable[..., Any]]:
    """The activities of one worker; they share its caches."""
    conversations, records = Conversations(), Records(host)
    ports = PortActivities(host, records)
    delivery = DeliverActivities(host, records)
    return [
        Resolve(host, conversations).resolve,
        ModelStep(host, conversations, records).model,
        Compact(host, conversations, records).compact,
        FileActivities(host).stage,
        CriticActivity(host, conversations, records).critic,
        ports.check,
        ports.commit,
        ports.start,
        ports.close,
        ports.flush,
        delivery.deliver,
        delivery.keep,
        restore,
        child_result,
        ReadOrigin(host).origin,
        SaveCheckpoint(host, conversations).checkpoint,
        *ToolActivities(host, conversations, records).activities(),
    ]
