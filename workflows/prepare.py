"""What comes before the loop: resolve the plan, reserve the budget, open the record."""

import asyncio
from datetime import datetime, timedelta

from temporalio.exceptions import ActivityError, is_cancelled_exception

from executus import contracts
from executus.audit import AuditOpen, ToolGrant
from executus.budget import BudgetCheck, BudgetDecision
from executus.contracts import BudgetCheckInput, ResolveInput, RunKey
from executus.errors import RunError
from executus.invocation import Invocation
from executus.limits import Defaults
from executus.plan import Resolved, RunPlan
from executus.request import RunRequest
from executus.status import Reason, Status
from executus.workflows.clock import SLACK
from executus.workflows.outcome import denial_text
from executus.workflows.perform import Options, perform

RESOLVE_SECONDS = 60.0
"""Seconds that resolve may take, retries included: an MCP server may have to start first."""
PORT_SECONDS = 20.0
"""Seconds that reserve and open may each take, retries included."""
SWEEP_MARGIN = 60.0
"""Seconds after the last possible moment of cleanup, from which on the sweeper may ask."""


async def resolve(request: RunRequest) -> Resolved:
    """The plan, or why there is none.

    Raises:
        RunError: nobody could be asked.
    """
    name = request.agent if isinstance(request.agent, str) else request.agent.name
    asked = ResolveInput(
        agent=request.agent,
        caller_id=request.invocation.caller_id,
        tenant_id=request.invocation.tenant_id,
        model_tier=request.model_tier,
        files=bool(request.invocation.files or request.origin or request.lineage),
        delivery=request.invocation.delivery,
    )
    try:
        return await perform(
            contracts.RESOLVE, asked, Resolved, _options(RESOLVE_SECONDS), f"agent {name}"[:200]
        )
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise asyncio.CancelledError from None
        text = f"resolve failed: {error.cause or error}"[:1_000]
        raise RunError(Status.ERROR, Reason.PORT_FAILED, text) from None


async def reserve(
    key: RunKey, invocation: Invocation, plan: RunPlan, started_at: datetime, seconds: float
) -> str | None:
    """Reserve `seconds` of runtime; None when admitted, else why not.

    Raises:
        RunError: the budget could not be asked; it fails closed.
    """
    bounds = plan.bounds
    check = BudgetCheck(
        run_id=key.run_id,
        workflow_run_id=key.workflow_run_id,
        caller_id=invocation.caller_id,
        tenant_id=invocation.tenant_id,
        agent_id=plan.agent_id,
        parent_run_id=invocation.parent_run_id,
        seconds=seconds,
        expires_at=sweep_at(bounds, plan.deadline_seconds, started_at, invocation),
    )
    # Not more than half of the run: a budget that answers at the deadline is of no use.
    options = _options(min(PORT_SECONDS, max(1.0, bounds.max_runtime / 2)))
    summary = f"reserve {seconds:.0f} s for {invocation.caller_id}"[:200]
    try:
        decision = await perform(
            contracts.BUDGET_CHECK, BudgetCheckInput(check=check), BudgetDecision, options, summary
        )
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise asyncio.CancelledError from None
        text = f"the budget could not be asked, so nothing was spent: {error.cause or error}"
        raise RunError(Status.BUDGET_EXCEEDED, Reason.BUDGET_UNAVAILABLE, text) from None
    return None if decision.admitted else denial_text(decision)


async def open_audit(opening: AuditOpen) -> str | None:
    """Open the record; why it did not land, if it did not.

    An audit that is down now does not stop the run: the close can create the record.
    """
    try:
        await perform(
            contracts.AUDIT_START, opening, type(None), _options(PORT_SECONDS), "open the record"
        )
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise asyncio.CancelledError from None
        return str(error.cause or error)
    return None


def audit_opening(
    key: RunKey, request: RunRequest | None, plan: RunPlan | None, started_at: datetime
) -> AuditOpen:
    """Head of the run's record; complete also for a run that was refused."""
    invocation = request.invocation if request else Invocation()
    agent = request.agent if request else ""
    named = agent if isinstance(agent, str) else agent.name
    identity = agent if isinstance(agent, str) else agent.identity
    targets, tools = (plan.targets, plan.tools) if plan else ((), ())
    bounds = plan.bounds if plan else Defaults()
    seconds = plan.deadline_seconds if plan else bounds.max_runtime
    return AuditOpen(
        run_id=key.run_id,
        workflow_run_id=key.workflow_run_id,
        parent_run_id=invocation.parent_run_id,
        agent_id=plan.agent_id if plan else identity,
        agent_name=plan.agent_name if plan else named,
        caller_id=invocation.caller_id,
        tenant_id=invocation.tenant_id,
        channel_id=invocation.channel_id,
        prompt=invocation.prompt,
        inputs=invocation.inputs,
        models=tuple(target.spec for target in targets),
        prices={t.spec: t.price.model_dump() for t in targets if t.price},
        phases=tuple(phase.name for phase in plan.phases) if plan else (),
        tools=tuple(ToolGrant(name=t.name, digest=t.digest, effect=t.effect) for t in tools),
        started_at=started_at,
        deadline_at=sweep_at(bounds, seconds, started_at, invocation),
    )


def sweep_at(
    bounds: Defaults, runtime: float, started_at: datetime, invocation: Invocation
) -> datetime:
    """When the run must have ended, all included; one that was extended is found alive."""
    seconds = runtime + SLACK + bounds.heartbeat_seconds + bounds.cleanup_seconds
    if invocation.delivery is not None:
        seconds += bounds.delivery_seconds
    return started_at + timedelta(seconds=seconds + SWEEP_MARGIN)


def _options(seconds: float) -> Options:
    return Options(whole=seconds, attempt=10.0, attempts=5, longest_pause=5.0)
