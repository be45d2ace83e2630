"""What a run leaves in Temporal's history, and how far it gets: `python -m bench.history`.

Four parts (`--parts growth,hard,long,endurance`). growth: 100 and 200 calls with 5 KB results; a
design that stores each byte once doubles, one that sends the conversation with every call
quadruples. hard: 60 results of 50 KB, and a 200 KB prompt with 100 calls. long: 1,000 calls. A
system that does not get there is shown with how it ended; `stuck` is a run that Temporal retries
for ever. endurance: 10,000 iterations through continue-as-new and compaction, and the worker's
memory during them.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from bench.harness import Bed, Measured, Worker, bed, middle, noted
from bench.outcome import COMPLETED, Bar, Options, Report, main
from bench.systems import EXECUTUS, FLOOR, LOCAL, available

KB5 = 5_000
MOST_MB, MOST_GROWTH = 0.9, 2.1
ITERATIONS, WARM = 10_000, 1_000
FLAT = 1.10
WINDOW = "32000"
"""Context window in the endurance run, in tokens: it folds about every hundred iterations."""


@dataclass(frozen=True, slots=True)
class Case:
    """One shape of a run."""

    part: str
    name: str
    calls: int
    size: int
    padding: int = 0
    seconds: float = 120.0
    """After which a run that has not ended counts as stuck."""


HUNDRED = Case("growth", "100 calls x 5 KB", 100, KB5)
TWO_HUNDRED = Case("growth", "200 calls x 5 KB", 200, KB5)
CASES = (
    HUNDRED,
    TWO_HUNDRED,
    Case("hard", "60 calls x 50 KB", 60, 50_000),
    Case("hard", "100 calls x 2 KB, 200 KB prompt", 100, 2_000, padding=200_000),
    Case("long", "1,000 calls x 5 KB", 1_000, KB5, seconds=600),
)


async def measure(options: Options) -> Report:
    """Every case by every system; --quick leaves out rivals and what takes minutes."""
    names = [name for name in options.chosen(available()) if name not in (LOCAL, FLOOR)]
    cases = [case for case in CASES if options.wants(case.part)]
    if options.quick:
        names = [name for name in names if name == EXECUTUS]
        cases = [case for case in cases if case.part != "long"]
    results: list[dict[str, Any]] = []
    found: dict[str, Measured] = {}
    async with bed() as place:
        for name in names:
            async with place.workers([name]) as (worker,):
                for case in cases:
                    measured = await _case(place, worker, case)
                    results.append(_row(name, case, measured))
                    if name == EXECUTUS:
                        found[case.name] = measured
        bars = _bars(found)
        if options.wants("endurance") and EXECUTUS in names and not options.quick:
            row, more = await endurance(place)
            results.append(row)
            bars += more
        else:
            bars += [Bar.most(RSS_BAR, None, FLAT), Bar.done(ENDURANCE_BAR, [])]
    return Report("history", results, bars)


async def _case(place: Bed, worker: Worker, case: Case) -> Measured:
    with noted(f"{worker.system}: {case.name}"):
        return await place.run(
            worker, case.calls, case.size, padding=case.padding, seconds=case.seconds
        )


def _row(name: str, case: Case, measured: Measured) -> dict[str, Any]:
    return {
        "case": case.name,
        "system": name,
        "status": measured.status,
        "history_mb": round(measured.history / 1e6, 3),
        "events": measured.events,
        "executions": measured.executions,
        "wall_s": round(measured.wall, 1),
        "worker_cpu_ms_per_call": round(measured.worker_cpu / case.calls * 1_000, 1),
        "rss_mb": round(measured.rss / 1e6, 1),
    }


def _bars(found: dict[str, Measured]) -> list[Bar]:
    short, double = found.get(HUNDRED.name), found.get(TWO_HUNDRED.name)
    bars = [
        Bar.most(f"{HUNDRED.name}: history in MB", short and short.history / 1e6, MOST_MB),
        Bar.most(
            "history of 200 calls / of 100 calls",
            double.history / short.history if short and double else None,
            MOST_GROWTH,
        ),
    ]
    for case in CASES:
        measured = found.get(case.name)
        bars.append(Bar.done(f"{case.name}: completes", [measured.status] if measured else []))
    return bars


# -- endurance ---------------------------------------------------------------------------------

ENDURANCE_BAR = f"{ITERATIONS:,} iterations: complete"
RSS_BAR = f"worker RSS after the first {WARM:,} of {ITERATIONS:,} iterations: highest / at {WARM:,}"


async def endurance(place: Bed) -> tuple[dict[str, Any], list[Bar]]:
    """One run of 10,000 iterations; the worker's memory every second of it."""
    samples: list[tuple[int, int]] = []
    async with place.worker(EXECUTUS, BENCH_WINDOW=WINDOW) as worker:
        before = await place.served()
        with noted(f"{ITERATIONS:,} iterations"):
            run = asyncio.create_task(
                place.run(worker, ITERATIONS, 500, compaction=True, seconds=3_000)
            )
            while not run.done():
                samples.append((await place.served() - before, worker.rss()))
                await asyncio.wait([run], timeout=1)
        measured = run.result()
    medians = by_thousand(samples)
    row = _row(EXECUTUS, Case("endurance", f"{ITERATIONS:,} iterations", ITERATIONS, 500), measured)
    row["rss_mb_by_thousand"] = " ".join(f"{value / 1e6:.0f}" for value in medians)
    flat = max(medians[1:]) / medians[1] if len(medians) > WARM // 1_000 + 1 else None
    return row, [
        Bar.done(ENDURANCE_BAR, [measured.status]),
        Bar.most(RSS_BAR, flat if measured.status == COMPLETED else None, FLAT),
    ]


def by_thousand(samples: list[tuple[int, int]]) -> list[float]:
    """Median memory within each thousand model calls."""
    groups: dict[int, list[int]] = {}
    for done, rss in samples:
        groups.setdefault(done // 1_000, []).append(rss)
    return [middle(groups[key]) for key in sorted(groups)]


if __name__ == "__main__":
    main(measure)
