"""Watchers: who is to watch a run, decided once, before it begins."""

import asyncio

from temporalio import activity

from executus.activities.host import Host
from executus.agent import RunnableAgent
from executus.contracts import ResolveInput
from executus.critic import JUDGE, WATCHDOG, CriticPlan
from executus.critic_view import CriticSubject
from executus.errors import ConfigError
from executus.limits import Defaults
from executus.sanitize import clean_line

WATCHES_SECONDS = 5.0
"""Seconds a host's critic may take to say whether it watches a run."""


async def watcher(
    host: Host, agent: RunnableAgent, bounds: Defaults, asked: ResolveInput
) -> CriticPlan | None:
    """The agent's critic, every number concrete; `off` says why nobody drives it.

    Raises:
        ConfigError: its numbers do not fit together.
    """
    if agent.critic is None:
        return None
    plan = agent.critic.planned(bounds.max_runtime, bounds.max_iterations)
    if plan.problem is not None:
        raise ConfigError(plan.problem)
    if plan.kind in {WATCHDOG, JUDGE}:
        return plan
    subject = CriticSubject(
        kind=plan.kind,
        agent_id=agent.identity,
        caller_id=asked.caller_id,
        tenant_id=asked.tenant_id,
        max_runtime=bounds.max_runtime,
    )
    return plan.model_copy(update={"off": await _absent(host, subject)})


def unknown_critic(host: Host, kind: str) -> str | None:
    """Why this host has nobody of that kind, if so."""
    if kind in {WATCHDOG, JUDGE} or host.ports.critic is not None:
        return None
    return f"this host has no critic `{kind}`; known: {WATCHDOG}, {JUDGE}"


async def _absent(host: Host, subject: CriticSubject) -> str:
    """Why the host's own critic does not watch; empty when it does."""
    critic = host.ports.critic
    if critic is None:
        return unknown_critic(host, subject.kind) or ""
    try:
        async with asyncio.timeout(WATCHES_SECONDS):
            watches = await critic.watches(subject)
    except Exception as error:  # noqa: BLE001 - the host's code: whatever it raises
        activity.logger.warning("executus: the critic failed", exc_info=error)
        text = host.redactor.text(str(error) or "no detail")
        return clean_line(f"the critic failed: {type(error).__name__}: {text}", 300)
    return "" if watches else f"the critic `{subject.kind}` does not watch this run"
