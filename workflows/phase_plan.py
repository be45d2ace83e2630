"""The plan of one phase: what the run's plan becomes while that phase works."""

from collections.abc import Sequence

from executus.data import json_bytes
from executus.plan import PhasePlan, RunPlan
from executus.sanitize import cap_text
from executus.template import QUERY, fill, names

OUTPUT_BYTES = 65_536
"""Bytes of one phase's output that later phases may be shown."""
OUTPUTS_BYTES = 262_144
"""Likewise of all phases of a run, and of all that one prompt puts in."""
MAX_PLAN_BYTES = 900_000
"""JSON bytes of a plan: workers read it by query."""


def output_share(phases: int) -> int:
    """Bytes that each phase's output may have, so that all of them can be handed over."""
    return min(OUTPUT_BYTES, OUTPUTS_BYTES // max(1, phases))


def phase_plan(plan: RunPlan, index: int, query: str, outputs: Sequence[str]) -> RunPlan:
    """The plan of phase `index`, its prompt filled with the question and earlier outputs.

    Of two earlier phases of one name, the later one's output counts. Deterministic: an execution
    that takes the run over comes to the same plan.
    """
    phase = plan.phases[index]
    values = {QUERY: query}
    values.update((p.name, o) for p, o in zip(plan.phases, outputs, strict=False))
    mentioned = max(1, len(names(phase.system_prompt)))
    room = OUTPUTS_BYTES // mentioned
    while True:
        shown = {name: cap_text(text, room).text for name, text in values.items()}
        made = _with_prompt(plan, index, fill(phase.system_prompt, shown))
        if json_bytes(made) <= MAX_PLAN_BYTES or not room:
            return made
        room //= 2


def _with_prompt(plan: RunPlan, index: int, prompt: str) -> RunPlan:
    phase = plan.phases[index]
    last = index == len(plan.phases) - 1
    return plan.model_copy(
        update={
            "system_prompt": "\n\n".join(text for text in (plan.system_prompt, prompt) if text),
            "targets": phase.targets,
            "tools": _tools(plan, phase),
            "output_schema": plan.output_schema if last else None,
            "phases": (),
            "bounds": plan.bounds.model_copy(update={"max_iterations": phase.max_iterations}),
        }
    )


def _tools(plan: RunPlan, phase: PhasePlan) -> tuple[object, ...]:
    return tuple(tool for tool in plan.tools if tool.name in phase.tools)
