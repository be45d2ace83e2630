"""Durable, bounded, audited LLM agent runs on Temporal.

The names here are safe to import anywhere, workflows included: plain data only.
`ExecutusPlugin` lives in `executus.plugin`, `AgentRun` in `executus.workflows`.
"""

from executus.agent import RunnableAgent
from executus.delivery_target import DeliveryTarget
from executus.errors import ExecutusError
from executus.invocation import Invocation
from executus.limits import Defaults, Limits
from executus.request import RunRequest
from executus.result import RunResult
from executus.status import Reason, Status
from executus.step import StepRecord
from executus.usage import Usage

__all__ = [
    "Defaults",
    "DeliveryTarget",
    "ExecutusError",
    "Invocation",
    "Limits",
    "Reason",
    "RunRequest",
    "RunResult",
    "RunnableAgent",
    "Status",
    "StepRecord",
    "Usage",
]
