"""How a run's workflow instance is made: so that it keeps no message that came or went.

Temporal's SDK keeps references into the activation that started a workflow for as long as the
workflow is cached, and one reference keeps the whole message. So every waiting run kept what it was
started with a second time: 5 KB for a small request, a megabyte after a hand-over, whose carried
conversation is the argument. It also keeps the newest activation, and the newest completion with
the input of the tool that is waited for (docs/performance.md).

Nor does it keep the live page of the Temporal UI: that is made when somebody looks.
"""

import dataclasses
from collections.abc import Coroutine
from typing import Any, cast

from temporalio import workflow
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.common import RawValue
from temporalio.worker import (
    ExecuteWorkflowInput,
    HandleQueryInput,
    Interceptor,
    UnsandboxedWorkflowRunner,
    WorkflowInboundInterceptor,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowInterceptorClassInput,
)

from executus.workflows.agent_run import AgentRun
from executus.workflows.intake import Received

_NO_RESULT, _NO_JOBS = Payloads(), WorkflowActivation()
"""One for all runs."""


class LeanRunner(UnsandboxedWorkflowRunner):
    """Makes instances that do not hold on to the messages that came and went."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See base class."""
        own = _NO_RESULT
        if det.last_completion_result.payloads:  # of a schedule's run before
            own = Payloads()
            own.CopyFrom(det.last_completion_result)
        made = super().create_instance(dataclasses.replace(det, last_completion_result=own))
        return cast("WorkflowInstance", _LeanInstance(made))


class _LeanInstance:
    """An instance that lets its newest activation and completion go, 13 KB of a waiting run.

    The SDK keeps both until the next activation. So it gets one at once, without jobs: nothing is
    set off by it, and what it says of the time and the history stands only until the next real one,
    which is the first to be read. Not in a replay, where that one comes at once. Not a
    `WorkflowInstance` by class: what another release adds to that is passed on as well.
    """

    __slots__ = ("_inner",)

    def __init__(self, inner: WorkflowInstance) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        """See `WorkflowInstance`."""
        completion = self._inner.activate(act)
        if not act.is_replaying and not any(job.HasField("remove_from_cache") for job in act.jobs):
            self._inner.activate(_NO_JOBS)
        return completion


class LeanCalls(Interceptor):
    """Gives an agent run its argument as something that it can let go, and a page to who looks."""

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002 - the SDK's name
    ) -> type[WorkflowInboundInterceptor]:
        """See base class."""
        del input
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    async def handle_query(self, input: HandleQueryInput) -> object:  # noqa: A002
        """See base class. What the Temporal UI asks for is answered with the live page in it."""
        answer = await super().handle_query(input)
        run = workflow.instance()
        if isinstance(answer, WorkflowMetadata) and isinstance(run, AgentRun):
            answer.current_details = run.page()
        return answer

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
