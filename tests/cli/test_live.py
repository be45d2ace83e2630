"""What a person sees of a run, as text."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from executus.cli.live import (
    PlainView,
    TableView,
    duration,
    head_line,
    money,
    open_view,
    steps_table,
    summary_lines,
    usage_text,
)
from executus.result import RunResult
from executus.state import LiveState
from executus.status import Reason, Status
from executus.step import StepRecord
from executus.usage import Usage

START = datetime(2026, 1, 1, tzinfo=UTC)


def step(name: str, *, done: bool = True, **fields) -> StepRecord:
    ended = START + timedelta(seconds=0.25) if done else None
    status = "complete" if done else "running"
    values = {"kind": "tool.add", "iteration": 1, "status": status, "started_at": START}
    return StepRecord.model_validate(values | {"id": name, "ended_at": ended} | fields)


def state(*steps: StepRecord, **fields) -> LiveState:
    values = {"run_id": "r", "agent": "a", "stage": "running", "started_at": START, "steps": steps}
    return LiveState.model_validate(values | fields)


def result(*steps: StepRecord, **fields) -> RunResult:
    values = {
        "run_id": "r",
        "status": Status.OK,
        "reason": Reason.ANSWER,
        "started_at": START,
        "ended_at": START + timedelta(seconds=61),
        "steps": steps,
        "steps_total": len(steps),
    }
    return RunResult.model_validate(values | fields)


def terminal(**options) -> Console:
    return Console(file=io.StringIO(), width=80, height=20, **options)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_plain_lines_show_each_ended_step_once() -> None:
    console = terminal()
    with PlainView(console) as view:
        view.note("temporal  here")
        view.show(state(step("m1"), step("m1.t1", done=False)))
        view.show(state(step("m1"), step("m1.t1", done=False)))
        view.finish(result(step("m1"), step("m1.t1", summary="add(a=1) [b]")))
    lines = written(console).splitlines()
    assert lines[0] == "temporal  here"
    assert [line.split()[0] for line in lines[1:]] == ["m1", "m1.t1"]
    assert "250 ms  complete  add(a=1) [b]" in lines[2]


def test_a_table_keeps_its_last_state_and_cuts_long_summaries_to_one_line() -> None:
    console = terminal(force_terminal=True)
    with TableView(console) as view:
        view.note("x" * 200)
        view.show(state(step("m1", done=False), iteration=1, max_iterations=12))
        view.finish(result(step("m1", summary="y" * 200)))
    text = written(console)
    assert "x" * 200 in text
    assert "complete" in text
    assert "…" in text
    assert "turn 1 of 12" not in text.splitlines()[-1]


def test_a_table_shows_the_newest_steps_that_fit() -> None:
    console = terminal(force_terminal=True)
    view = TableView(console)
    view.show(state(*(step(f"m{n}") for n in range(50))))
    console.print(view._render())
    text = written(console)
    assert "m49" in text
    assert "m37" not in text


def test_steps_stand_below_the_name_of_their_phase() -> None:
    steps = (step("m1", phase="Plan"), step("m2", phase="Plan"), step("m3", phase="Write"))
    plain, table = terminal(), terminal()
    with PlainView(plain) as view:
        view.show(state(*steps[:2]))
        view.finish(result(*steps))
    heads = [line.split()[:2] for line in written(plain).splitlines()]
    assert [head[0] for head in heads] == ["--", "m1", "m2", "--", "m3"]
    assert (heads[0][1], heads[3][1]) == ("Plan", "Write")
    table.print(steps_table(steps))
    assert [line.split()[0] for line in written(table).splitlines()] == [
        "Plan",
        "m1",
        "m2",
        "Write",
        "m3",
    ]


def test_a_terminal_gets_a_table_and_a_pipe_gets_lines() -> None:
    assert isinstance(open_view(terminal(force_terminal=True)), TableView)
    assert isinstance(open_view(terminal(force_terminal=False)), PlainView)


def test_the_head_line_says_where_the_run_is() -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=30.5)
    going = state(iteration=2, max_iterations=12, deadline_at=deadline)
    assert head_line(going).startswith("running, turn 2 of 12, 3")
    phased = state(phase="Write", phase_number=2, phases_total=3, iteration=4, max_iterations=9)
    assert head_line(phased) == "running, phase Write (2 of 3), turn 4 of 9"
    assert head_line(state(stop="Ctrl-C")) == "stopping: Ctrl-C"
    assert head_line(state(stage="starting")) == "starting"


def test_the_summary_names_outcome_error_warnings_spend_and_links() -> None:
    ended = result(
        step("m1"),
        status=Status.ERROR,
        reason=Reason.TOOL_LOOP,
        error="the same call again",
        warnings=("the audit did not close",),
        cost_micro_usd=1_230_000,
        usage=Usage(input_tokens=1_500, cache_read_tokens=500, output_tokens=20, model_calls=1),
    )
    assert summary_lines(ended, ui="http://ui/r") == [
        "status    error (tool_loop), 1 step, 1 m 01 s",
        "error     the same call again",
        "warning   the audit did not close",
        "spent     1 model call, 1,500 tokens in (500 cached), 20 out, $1.2300",
        "run       r",
        "ui        http://ui/r",
    ]
    assert summary_lines(result(), ui=None)[-1] == "run       r"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0 ms"), (0.0123, "12 ms"), (1, "1.0 s"), (59.94, "59.9 s"), (125, "2 m 05 s")],
)
def test_a_duration_has_the_unit_that_fits(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_what_is_not_known_is_not_shown_as_zero() -> None:
    assert money(None) == "price not known"
    assert money(0) == "$0.0000"
    assert usage_text(Usage()) == "0 model calls, 0 tokens in, 0 out"
