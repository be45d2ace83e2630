"""The live page of a run in the Temporal UI (current details, Markdown)."""

from executus.state import LiveState
from executus.step import StepRecord

SHOWN_STEPS = 12
"""Newest steps on the page."""
MARKS = {"running": "…", "complete": "✓", "error": "✗", "unknown": "?"}


def render(state: LiveState) -> str:
    """The page. Times are absolute: nothing refreshes it while a step runs."""
    lines = [
        f"**{state.agent}** · {state.stage} · **{state.status}** {state.reason}".rstrip(),
        "",
        f"- iteration {state.iteration} of {state.max_iterations or '?'}",
        f"- tokens {state.usage.total_tokens:,}{_cost(state.cost_micro_usd)}",
    ]
    if state.deadline_at is not None:
        lines.append(f"- time is up at {state.deadline_at:%Y-%m-%d %H:%M:%S} UTC")
    if state.stop:
        lines.append(f"- stopping: {state.stop}")
    lines += ["", f"Steps ({state.steps_total}):", ""]
    lines += [_line(step) for step in state.steps[-SHOWN_STEPS:]]
    return "\n".join(lines)


def _cost(micro_usd: int | None) -> str:
    return "" if micro_usd is None else f" · ${micro_usd / 1_000_000:.4f}"


def _line(step: StepRecord) -> str:
    text = step.summary.replace("`", "'")
    return f"- {MARKS[step.status]} `{step.id}` {step.kind}: `{text}`"
