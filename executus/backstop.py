"""Client interceptor: give every agent run Temporal's own time limit as a backstop.

The run's own timer is what normally ends it, with cleanup. The execution timeout covers what no
workflow code can: workers that are gone, a bug that keeps the workflow task failing. It runs no
cleanup; the sweeper closes such runs.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from temporalio.client import (
    Interceptor,
    OutboundInterceptor,
    StartWorkflowInput,
    WorkflowHandle,
)
from temporalio.common import Priority

from executus.agent import RunnableAgent
from executus.contracts import AGENT_RUN
from executus.limits import Defaults
from executus.priority import priority_of
from executus.request import RunRequest
from executus.timeouts import execution_seconds

UNKNOWN_RUNTIME = 86_400.0
"""Assumed for an agent named to a client that does not know it: the seed's absolute guard, 24 h."""


class Backstop(Interceptor):
    """Fills `execution_timeout` and `priority` of agent runs that have none."""

    def __init__(self, agents: Mapping[str, RunnableAgent], defaults: Defaults) -> None:
        """`agents`: those registered here, to know the runtime of one that is only named."""
        self._agents = agents
        self._defaults = defaults

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002
        """See base class."""
        return _Outbound(next, self)

    def timeout(self, request: object) -> timedelta:
        """max_runtime (or what a critic may make of it), stop, cleanup, delivery, outage margin."""
        runtime, delivery = UNKNOWN_RUNTIME, 0.0
        if isinstance(request, RunRequest):
            if request.invocation.delivery is not None:
                delivery = self._defaults.delivery_seconds
            agent = request.agent
            known = self._agents.get(agent) if isinstance(agent, str) else agent
            if known is not None:
                runtime = known.max_runtime or self._defaults.max_runtime
                runtime = known.critic.reach(runtime) if known.critic else runtime
        cleanup = self._defaults.cleanup_seconds + delivery
        return timedelta(seconds=execution_seconds(runtime, cleanup))


class _Outbound(OutboundInterceptor):
    def __init__(self, following: OutboundInterceptor, backstop: Backstop) -> None:
        super().__init__(following)
        self._backstop = backstop

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        if input.workflow == AGENT_RUN:
            request = next(iter(input.args), None)
            if input.execution_timeout is None:
                input.execution_timeout = self._backstop.timeout(request)
            if input.priority == Priority.default and isinstance(request, RunRequest):
                input.priority = priority_of(request.invocation)
        return await super().start_workflow(input)
