"""The live page of a run in the Temporal UI."""

from datetime import UTC, datetime

from executus.state import LiveState
from executus.step import StepRecord
from executus.workflows.details import SHOWN_STEPS, render

START = datetime(2026, 1, 1, tzinfo=UTC)


def step(number: int, phase: str = "") -> StepRecord:
    return StepRecord(
        id=f"m{number}",
        kind="model",
        iteration=number,
        phase=phase,
        summary="a `tick`",
        started_at=START,
    )


def state(*steps: StepRecord, **fields) -> LiveState:
    return LiveState(
        run_id="r",
        agent="a",
        stage="running",
        started_at=START,
        steps=steps,
        steps_total=len(steps),
        **fields,
    )


def test_steps_are_grouped_by_phase_and_the_present_one_is_named():
    steps = (step(1, "Plan"), step(2, "Plan"), step(3, "Write"))
    page = render(state(*steps, phase="Write", phase_number=2, phases_total=2))
    lines = [line for line in page.splitlines() if line]
    assert "- phase Write (2 of 2)" in lines
    assert [line for line in lines if line.startswith("**") and "·" not in line] == [
        "**Plan**",
        "**Write**",
    ]
    assert lines.index("**Write**") == len(lines) - 2


def test_a_run_without_phases_has_no_groups_and_the_page_stays_short():
    page = render(state(*(step(n) for n in range(50))))
    lines = [line for line in page.splitlines() if line.startswith("- …")]
    assert len(lines) == SHOWN_STEPS
    assert "phase" not in page
    assert lines[-1] == "- … `m49` model: `a 'tick'`"
