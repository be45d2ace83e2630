"""The live page of a run in the Temporal UI (current details, Markdown)."""

from collections.abc import Iterator, Sequence

from executus.sanitize import clean_line
from executus.state import LiveState
from executus.step import StepRecord
from executus.waits import wait_lines

MAX_CODE = 500
"""Characters of one piece of text."""
SHOWN_STEPS = 12
"""Newest steps on the page."""
MARKS = {"running": "…", "complete": "✓", "error": "✗", "unknown": "?"}


def render(state: LiveState) -> str:
    """The page. Times are absolute: it stands in a browser until somebody looks again."""
    lines = [
        f"**{state.agent}** · {state.stage} · **{state.status}** {state.reason}".rstrip(),
        "",
        f"- iteration {state.iteration} of {state.max_iterations or '?'}",
        f"- tokens {state.usage.total_tokens:,}{_cost(state.cost_micro_usd)}",
    ]
    if state.phase:
        lines.insert(2, f"- phase {state.phase} ({state.phase_number} of {state.phases_total})")
    if state.deadline_at is not None:
        lines.append(f"- time is up at {state.deadline_at:%Y-%m-%d %H:%M:%S} UTC")
    if state.critic:
        lines.append(f"- watched by the critic `{state.critic}`: {state.extensions} extensions")
    if state.stop:
        lines.append(f"- stopping: {state.stop}")
    for what, how in wait_lines(state).values():
        lines += ["", f"**Waits for people**: {_code(what)}", "", f"    {how}"]
    lines += ["", f"Steps ({state.steps_total}):", ""]
    return "\n".join([*lines, *_grouped(state.steps[-SHOWN_STEPS:])])


def _grouped(steps: Sequence[StepRecord]) -> Iterator[str]:
    """A line a step, with the name of its phase above each phase's first."""
    phase = ""
    for step in steps:
        if step.phase != phase:
            phase = step.phase
            yield f"\n**{phase}**\n"
        yield _line(step)


def _cost(micro_usd: int | None) -> str:
    return "" if micro_usd is None else f" · ${micro_usd / 1_000_000:.4f}"


def _line(step: StepRecord) -> str:
    child = f" → {_code(step.child_run_id)}" if step.child_run_id else ""
    return f"- {MARKS[step.status]} `{step.id}` {step.kind}: {_code(step.summary)}{child}"


def _code(text: str) -> str:
    """As code: what comes from outside must not be Markdown."""
    line = clean_line(text, MAX_CODE).replace("`", "'")
    return f"`{line}`"
