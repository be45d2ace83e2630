"""Phases of an agent, as they will run: tiers resolved, tools looked up, bounds concrete."""

from collections.abc import Callable, Iterable, Sequence

from executus.agent import RunnableAgent
from executus.errors import ConfigError
from executus.files import READ_MORE
from executus.limits import Defaults
from executus.phase import Phase, phases_problem
from executus.plan import ModelTarget, PhasePlan, ToolDef
from executus.sanitize import clean_text

Resolver = Callable[[str], tuple[ModelTarget, ...]]
"""From a tier or spec to its chain."""


class BadPhase(ConfigError):
    """A phase that does not fit its agent; the message names both."""


def plan_phases(
    agent: RunnableAgent, bounds: Defaults, tools: Sequence[ToolDef], resolve: Resolver
) -> tuple[PhasePlan, ...]:
    """Every phase, in order.

    Raises:
        BadPhase: a template or the name of a tool is wrong.
    """
    # A copy made with model_copy was never validated.
    problem = phases_problem(agent.phases) or agent.output_problem
    if problem is not None:
        raise BadPhase(problem)
    return tuple(_planned(phase, agent, bounds, tools, resolve) for phase in agent.phases)


def every_target(phases: Iterable[PhasePlan]) -> tuple[ModelTarget, ...]:
    """Every target of any phase, in order, each once."""
    return tuple({target.spec: target for phase in phases for target in phase.targets}.values())


def _planned(
    phase: Phase,
    agent: RunnableAgent,
    bounds: Defaults,
    tools: Sequence[ToolDef],
    resolve: Resolver,
) -> PhasePlan:
    return PhasePlan(
        name=phase.name,
        system_prompt=clean_text(phase.system_prompt),
        targets=resolve(phase.model_tier or bounds.model_tier),
        tools=_tools(phase, agent, tools),
        max_iterations=1 if phase.bare else phase.max_iterations or bounds.max_iterations,
        max_runtime=phase.max_runtime,
        optional=phase.optional,
        fallback=phase.fallback,
        bare=phase.bare,
    )


def _tools(phase: Phase, agent: RunnableAgent, granted: Sequence[ToolDef]) -> tuple[str, ...]:
    """What the phase's names mean: a tool, or whatever the agent's own name for a source brought.

    That may be nothing, when an optional server does not answer.
    """
    if phase.bare:
        return ()
    meant = {name: _meant(name, granted) for name in phase.tools}
    unknown = [name for name, tools in meant.items() if not tools and name not in agent.tools]
    if unknown:
        known = ", ".join(tool.name for tool in granted) or "none"
        text = f"phase `{phase.name}`: {', '.join(unknown)} is not among the agent's tools: {known}"
        raise BadPhase(text)
    if not phase.tools:
        return tuple(tool.name for tool in granted)
    own = [tool.name for tool in granted if tool.name == READ_MORE]
    named = [tool for tools in meant.values() for tool in tools]
    return tuple(dict.fromkeys([*named, *own]))


def _meant(name: str, granted: Sequence[ToolDef]) -> list[str]:
    return [
        tool.name
        for tool in granted
        if name in {tool.name, tool.source or tool.name} or tool.source.startswith(f"{name}/")
    ]
