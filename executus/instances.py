"""How a run's workflow instance is made: without the messages that brought it to life.

Temporal's SDK keeps references into the activation that started a workflow for as long as the
workflow is cached, and one reference keeps the whole message. So every waiting run kept what it was
started with a second time: 5 KB for a small request, a megabyte after a hand-over, whose carried
conversation is the argument (docs/performance.md).
"""

import dataclasses
from collections.abc import Coroutine
from typing import Any

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.common import RawValue
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    UnsandboxedWorkflowRunner,
    WorkflowInboundInterceptor,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowInterceptorClassInput,
)

from executus.workflows.agent_run import AgentRun
from executus.workflows.intake import Received

_NO_RESULT = Payloads()
"""One for all runs."""


class LeanRunner(UnsandboxedWorkflowRunner):
    """Makes instances that do not hold on to their first activation by its (empty) last result."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See base class."""
        own = _NO_RESULT
        if det.last_completion_result.payloads:  # of a schedule's run before
            own = Payloads()
            own.CopyFrom(det.last_completion_result)
        return super().create_instance(dataclasses.replace(det, last_completion_result=own))


class LeanStart(Interceptor):
    """Gives an agent run its argument as something that it can let go."""

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002 - the SDK's name
    ) -> type[WorkflowInboundInterceptor]:
        """See base class."""
        del input
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    def execute_workflow(self, input: ExecuteWorkflowInput) -> Coroutine[Any, Any, Any]:  # noqa: A002 # pyright: ignore[reportIncompatibleMethodOverride]
        """See base class. No coroutine of its own: its frame would keep the input."""
        if input.type is AgentRun:
            input.headers = {name: _own(payload) for name, payload in input.headers.items()}
            raw = (Received(_own(a.payload)) if isinstance(a, RawValue) else a for a in input.args)
            input.args = list(raw)
        return super().execute_workflow(input)


def _own(payload: Payload) -> Payload:
    """A copy that is not a part of a larger message."""
    copy = Payload()
    copy.CopyFrom(payload)
    return copy
