"""Show a run while it goes on: a table in a terminal, one line a step anywhere else.

Everything goes to stderr; stdout is for the answer alone. NO_COLOR is honoured (rich does).
"""

import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from executus.letter import DeliveryReceipt
from executus.result import RunResult
from executus.state import LiveState
from executus.step import StepRecord
from executus.usage import Usage

STYLES = {"running": "cyan", "complete": "green", "error": "red", "unknown": "yellow"}
RESERVED_LINES = 8
"""Lines of a terminal that the table leaves to what stands around it."""
MICRO = 1_000_000
MINUTE = 60


class Stderr(Console):
    """Where people read along. Somebody who stops (`2>&1 | head`) does not end the run."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        """Say no more. The base class raises SystemExit, in whatever task it is: that hangs."""
        self.quiet = True
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stderr.fileno())
        os.close(devnull)


class View(Protocol):
    """Where progress goes."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def note(self, text: str) -> None:
        """Say something about the run that is not a step."""
        ...

    def show(self, state: LiveState) -> None:
        """Show where the run is."""
        ...

    def finish(self, result: RunResult) -> None:
        """Show every step in its last state."""
        ...


class PlainView:
    """One line when a step ends; for pipes, logs and CI."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: set[str] = set()
        self._phase = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to put back."""

    def note(self, text: str) -> None:
        """Print it."""
        self._print(text)

    def show(self, state: LiveState) -> None:
        """Print the steps that ended since."""
        self._ended(state.steps)

    def finish(self, result: RunResult) -> None:
        """Print what was not printed yet."""
        self._ended(result.steps)

    def _ended(self, steps: Iterable[StepRecord]) -> None:
        for step in steps:
            if step.ended_at is not None and step.id not in self._shown:
                self._shown.add(step.id)
                if step.phase != self._phase:
                    self._phase = step.phase
                    self._print(f"-- {step.phase}")
                self._print(step_line(step))

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class TableView:
    """A table that is redrawn in place; for a person at a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps: tuple[StepRecord, ...] = ()
        self._head = "waiting for a worker"
        self._over = False
        self._live = Live(
            console=console, refresh_per_second=8, get_renderable=self._render, transient=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True
        self._live.stop()

    def note(self, text: str) -> None:
        """Print it above the table."""
        self._console.print(Text(text, style="dim"), soft_wrap=True)

    def show(self, state: LiveState) -> None:
        """Keep the newest state; the next redraw shows it."""
        self._steps = state.steps
        self._head = head_line(state)

    def finish(self, result: RunResult) -> None:
        """Leave the whole table standing."""
        self._steps = result.steps
        self._over = True

    def _render(self) -> RenderableType:
        if self._over:
            return steps_table(self._steps)
        room = max(1, self._console.height - RESERVED_LINES)
        spinner = Spinner("dots", Text(self._head, style="dim"))
        return Group(steps_table(self._steps[-room:]), spinner)


def open_view(console: Console) -> View:
    """The view that fits where stderr goes."""
    return TableView(console) if console.is_terminal else PlainView(console)


def steps_table(steps: Iterable[StepRecord]) -> Table:
    """Steps as rows: id, kind, summary, seconds, status; a row with the name above each phase."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    for name in ("id", "kind"):
        table.add_column(name, no_wrap=True)
    table.add_column("summary", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    phase = ""
    for step in steps:
        if step.phase != phase:
            phase = step.phase
            table.add_row("", "", Text(phase, style="bold"), "", "")
        status = Text(step.status, style=STYLES[step.status])
        table.add_row(step.id, step.kind, Text(step.summary), took(step), status)
    return table


def step_line(step: StepRecord) -> str:
    """The same as one plain line."""
    return f"{step.id:<8} {step.kind:<18} {took(step):>8}  {step.status:<8}  {step.summary}"


def head_line(state: LiveState) -> str:
    """Where a run is, in one line."""
    if state.stop:
        return f"stopping: {state.stop}"
    turn = f"turn {state.iteration} of {state.max_iterations}" if state.max_iterations else ""
    left = ""
    if state.deadline_at is not None:
        left = f"{max(0.0, (state.deadline_at - datetime.now(UTC)).total_seconds()):.0f} s left"
    phase = ""
    if state.phase:
        phase = f"phase {state.phase} ({state.phase_number} of {state.phases_total})"
    return ", ".join(part for part in (state.stage, phase, turn, left) if part)


def summary_lines(result: RunResult, *, ui: str | None) -> list[str]:
    """What stands below the answer: outcome, spend, warnings, and where to look."""
    time = duration((result.ended_at - result.started_at).total_seconds())
    count = plural(result.steps_total, "step")
    spent = f"{usage_text(result.usage)}, {money(result.cost_micro_usd)}"
    lines = [labelled("status", f"{result.status} ({result.reason}), {count}, {time}")]
    lines += [labelled("error", result.error)] if result.error else []
    lines += [labelled("delivered", _delivered(result.delivery))] if result.delivery else []
    lines += [labelled("warning", warning) for warning in result.warnings]
    lines += [labelled("spent", spent), labelled("run", result.run_id)]
    lines += [labelled("ui", ui)] if ui else []
    return lines


def _delivered(receipt: DeliveryReceipt) -> str:
    code = "" if receipt.status_code is None else f", status {receipt.status_code}"
    return f"{receipt.target}, {plural(receipt.attempts, 'attempt')}{code}"


def plural(number: int, noun: str) -> str:
    """A count with its noun."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def labelled(label: str, text: str) -> str:
    """A line of what stands around the steps."""
    return f"{label:<9} {text}"


def usage_text(usage: Usage) -> str:
    """Token counts for people."""
    cached = f" ({usage.cache_read_tokens:,} cached)" if usage.cache_read_tokens else ""
    return (
        f"{plural(usage.model_calls, 'model call')}, {usage.input_tokens:,} tokens in{cached}, "
        f"{usage.output_tokens:,} out"
    )


def money(micro_usd: int | None) -> str:
    """A cost in dollars; says so when it is not known."""
    return "price not known" if micro_usd is None else f"${micro_usd / MICRO:.4f}"


def took(step: StepRecord) -> str:
    """How long a step took, or has taken so far."""
    return duration(((step.ended_at or datetime.now(UTC)) - step.started_at).total_seconds())


def duration(seconds: float) -> str:
    """A duration with the unit that fits."""
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    return (
        f"{seconds:.1f} s" if seconds < MINUTE else f"{seconds // 60:.0f} m {seconds % 60:02.0f} s"
    )
