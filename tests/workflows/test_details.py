"""The live page of a run in the Temporal UI."""

from datetime import UTC, datetime

from executus.question import Question
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


def test_the_page_says_what_a_run_waits_for_and_the_command_that_settles_it():
    question = Question(
        step_id="m1.t1",
        kind="approval",
        tool="refund",
        arguments='{"order": "`17`"}',
        digest="d" * 32,
        asked_at=START,
        expires_at=START,
    )
    page = render(state(questions=(question,), waiting="approval of refund (m1.t1)"))
    assert '`m1.t1 waits for approval until 00:00:00 UTC: refund {"order": "\'17\'"}`' in page
    assert "    executus approve r m1.t1 " in page
    limit = render(state(waiting="token limit: 300 of 300 tokens used"))
    assert "    executus budget grant r " in limit


def test_a_step_that_is_a_child_run_names_it():
    child = step(1).model_copy(update={"child_run_id": "r.m1.t1"})
    assert "- … `m1` model: `a 'tick'` → `r.m1.t1`" in render(state(child))
