"""Plots of docs/performance.md from the benches' last lines: `python -m bench.plots FILE ...`.

Each file is what a bench printed with --json. Writes docs/img/bench-*.png.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

IMAGES = Path(__file__).parent.parent / "docs" / "img"
COLOURS = {
    "executus": "#1f5fbf",
    "executus-local": "#5aa9e6",
    "floor": "#8a8a8a",
    "pydantic-ai": "#d1495b",
    "openai-agents": "#edae49",
}
Rows = list[dict[str, Any]]


def steps(rows: Rows) -> None:
    """Cost of an iteration by length of the run."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    kinds = (("worker_cpu_ms", "worker CPU"), ("wall_ms", "wall"))
    for axis, (column, title) in zip(axes, kinds, strict=True):
        for name, colour in COLOURS.items():
            mine = [row for row in rows if row["system"] == name and row[column] is not None]
            style = "--" if name == "floor" else "-"
            calls, values = [row["calls"] for row in mine], [row[column] for row in mine]
            axis.plot(calls, values, style, marker="o", ms=3, color=colour, label=name)
        axis.set(title=f"{title}, ms per iteration", xlabel="calls in the run", ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8, frameon=False)
    _save(figure, "steps")


def throughput(rows: Rows) -> None:
    """Runs per second, and what they took."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.4), layout="constrained")
    names = [row["system"] for row in rows]
    colours = [COLOURS[name] for name in names]
    axes[0].barh(names, [row["runs_per_s"] for row in rows], color=colours)
    axes[0].set_title("runs per second, 50 at a time")
    axes[1].barh(names, [row["worker_cpu_s"] for row in rows], color=colours)
    axes[1].set_title("worker CPU, seconds for 200 runs")
    for axis in axes:
        axis.invert_yaxis()
    axes[1].set_yticks([])
    _save(figure, "throughput")


def history(rows: Rows) -> None:
    """Memory of the worker during the long run."""
    row = next((row for row in rows if "rss_mb_by_thousand" in row), None)
    if row is None:
        return
    values = [float(text) for text in row["rss_mb_by_thousand"].split()]
    figure, axis = plt.subplots(figsize=(5, 2.4), layout="constrained")
    axis.plot(range(1, len(values) + 1), values, marker="o", ms=3, color=COLOURS["executus"])
    axis.set(title="worker RSS, MB", xlabel="thousand iterations of one run (median within each)")
    axis.set_ylim(0, 1.15 * max(values))
    axis.grid(alpha=0.3)
    _save(figure, "endurance")


def _save(figure: Any, name: str) -> None:  # noqa: ANN401 - matplotlib is not typed here
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / f"bench-{name}.png", dpi=110)
    plt.close(figure)


DRAW: dict[str, Callable[[Rows], None]] = {
    "steps": steps,
    "throughput": throughput,
    "history": history,
}

if __name__ == "__main__":
    for file in sys.argv[1:]:
        line = json.loads(Path(file).read_text().strip().splitlines()[-1])
        if draw := DRAW.get(line["bench"]):
            draw(line["results"])
