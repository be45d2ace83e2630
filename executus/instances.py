"""How a run's workflow instance is made: so that it keeps no message that came or went.

Temporal's SDK keeps references into the activation that started a workflow for as long as the
workflow is cached, and one reference keeps the whole message. So every waiting run kept what it was
started with a second time: 5 KB for a small request, a megabyte after a hand-over, whose carried
conversation is the argument. It also keeps the newest activation, and the newest completion with
the input of the tool that is waited for (docs/performance.md).

Nor does it keep the live page of the Temporal UI: that is made when somebody looks.

And so that a run takes what happened before what is asked of it: see `events_first`.
"""

import dataclasses
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from temporalio import workflow
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
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
_LAST = frozenset(
    f"{how}_workflow_execution" for how in ("complete", "fail", "cancel", "continue_as_new")
)
"""Commands that end an execution; none comes after them."""


def events_first(
    activate: Callable[[WorkflowActivation], WorkflowActivationCompletion], act: WorkflowActivation
) -> WorkflowActivationCompletion:
    """Activate with everything but updates, then with the updates of the same workflow task.

    The SDK takes updates first where both come in one activation, as in every replay. But a worker
    that has just started may get them in two, events first (seen where a query came with the task).
    What it then records no replay can follow (TMPRL1100), and the run hangs: somebody approved a
    call while workers were restarted. In this order both are the same: all events of a task are
    older than its updates. See docs/decisions/0019.
    """
    updates = [job for job in act.jobs if job.HasField("do_update")]
    if len(updates) in (0, len(act.jobs)):
        return activate(act)
    others = [job for job in act.jobs if not job.HasField("do_update")]
    completion = activate(_with_jobs(act, others))
    if not completion.HasField("successful"):
        return completion
    answered = activate(_with_jobs(act, updates))
    if not answered.HasField("successful"):
        return answered
    commands = [*completion.successful.commands]
    end = [commands.pop()] if commands and commands[-1].WhichOneof("variant") in _LAST else []
    del completion.successful.commands[:]
    completion.successful.commands.extend([*commands, *answered.successful.commands, *end])
    completion.successful.used_internal_flags.extend(answered.successful.used_internal_flags)
    return completion


def _with_jobs(
    act: WorkflowActivation, jobs: Sequence[WorkflowActivationJob]
) -> WorkflowActivation:
    part = WorkflowActivation()
    part.CopyFrom(act)
    del part.jobs[:]
    part.jobs.extend(jobs)
    return part


class LeanRunner(UnsandboxedWorkflowRunner):
    """Makes instances that do not hold on to the messages that came and went."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See base class."""
        own = _NO_RESULT
        if det.last_completion_result.payloads:  # of a schedule's run before
            own = Payloads()
            own.CopyFrom(det.last_completion_result)
        made = super().create_instance(dataclasses.replace(det, last_completion_result=own))
        return cast("WorkflowInstance", _LeanInstance(made, agent_run=det.defn.cls is AgentRun))


class _LeanInstance:
    """An instance that lets its newest activation and completion go, 13 KB of a waiting run.

    The SDK keeps both until the next activation. So it gets one at once, without jobs: nothing is
    set off by it, and what it says of the time and the history stands only until the next real one,
    which is the first to be read. Not in a replay, where that one comes at once. Not a
    `WorkflowInstance` by class: what another release adds to that is passed on as well.
    """

    __slots__ = ("_agent_run", "_inner")

    def __init__(self, inner: WorkflowInstance, *, agent_run: bool) -> None:
        self._inner = inner
        self._agent_run = agent_run
        """A host's own workflow has histories in the SDK's order."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        """See `WorkflowInstance`."""
        inner = self._inner.activate
        completion = events_first(inner, act) if self._agent_run else inner(act)
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
