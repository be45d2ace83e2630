"""What an iteration costs, by number of calls: `python -m bench.steps [--json] [--quick]`.

One iteration is a model call and a tool call with a 2 KB result. Read the CPU columns first: wall
time includes the server. Flat columns mean that the cost of a step does not depend on how long the
run already is; `floor` is the bare loop in bench/systems/floor_workflow.py. Figures are medians of
the repetitions, ratios are made within a repetition, where the systems alternate.
"""

from bench.harness import Bed, Measured, Worker, bed, middle, noted, ratios
from bench.outcome import COMPLETED, Bar, Options, Report, main
from bench.systems import EXECUTUS, FLOOR, LOCAL, RIVALS, available

SIZE = 2_000
LENGTHS = (20, 50, 100, 200)
REPEATS = 3
LONG, SHORT = 200, 20
AT = 100
FLOOR_BAR, FLAT_BAR, RIVAL_BAR = 1.2, 1.15, 0.7

Table = dict[tuple[str, int], list[Measured]]


async def measure(options: Options) -> Report:
    """Every system at every length, alternating."""
    lengths = (20, 50) if options.quick else LENGTHS
    repeats = 1 if options.quick else options.repeats or REPEATS
    table: Table = {}
    names = options.chosen(available())
    async with bed() as place, place.workers(names) as workers:
        for turn in range(repeats):
            for length in lengths:
                for worker in workers:
                    await _one(place, worker, length, table, turn)
    return _report(table, names, lengths)


async def _one(place: Bed, worker: Worker, length: int, table: Table, turn: int) -> None:
    with noted(f"{turn + 1}: {worker.system} x {length}"):
        measured = await place.run(worker, length, SIZE, seconds=180)
    table.setdefault((worker.system, length), []).append(measured)


def _report(table: Table, names: list[str], lengths: tuple[int, ...]) -> Report:
    results = [
        {
            "system": name,
            "calls": length,
            "status": table[name, length][-1].status,
            "wall_ms": round(middle(wall(table, name, length)), 2),
            "worker_cpu_ms": round(middle(cpu(table, name, length)), 2),
            "server_cpu_ms": round(
                middle(m.server_cpu / length * 1_000 for m in table[name, length]), 2
            ),
            "events": table[name, length][-1].events,
            "history_mb": round(table[name, length][-1].history / 1e6, 3),
            "rss_mb": round(table[name, length][-1].rss / 1e6, 1),
        }
        for name in names
        for length in lengths
    ]
    return Report("steps", results, list(_bars(table, names, lengths)))


def wall(table: Table, name: str, length: int) -> list[float]:
    """Milliseconds an iteration took, in each repetition that completed."""
    return [m.wall / length * 1_000 for m in table.get((name, length), []) if m.status == COMPLETED]


def cpu(table: Table, name: str, length: int) -> list[float]:
    """The same for the worker's CPU."""
    found = table.get((name, length), [])
    return [m.worker_cpu / length * 1_000 for m in found if m.status == COMPLETED]


def _bars(table: Table, names: list[str], lengths: tuple[int, ...]) -> list[Bar]:
    bars: list[Bar] = []
    for ours in (EXECUTUS, LOCAL):
        if ours not in names:
            continue
        if ours == EXECUTUS:
            bars += _floor_bars(table)
        if any(m.status != COMPLETED for length in lengths for m in table[ours, length]):
            bars.append(Bar(f"{ours}: every run completes", 0.0, 1.0, ok=False))
        flat = ratios(*_same(cpu(table, ours, LONG), cpu(table, ours, SHORT)))
        bars.append(Bar.most(f"{ours}: CPU at {LONG} / at {SHORT} calls", flat, FLAT_BAR))
        for rival in (name for name in RIVALS if name in names):
            bars += _rival_bars(table, ours, rival, lengths)
    return bars


def _floor_bars(table: Table) -> list[Bar]:
    return [
        Bar.most(
            f"executus: {what} per iteration / floor, {AT} calls",
            ratios(*_same(read(table, EXECUTUS, AT), read(table, FLOOR, AT))),
            FLOOR_BAR,
        )
        for what, read in (("worker CPU", cpu), ("wall", wall))
    ]


def _rival_bars(table: Table, ours: str, rival: str, lengths: tuple[int, ...]) -> list[Bar]:
    bars: list[Bar] = []
    for length in lengths:
        both = _same(cpu(table, ours, length), cpu(table, rival, length))
        if not both[1]:
            continue  # the rival does not get that far
        name = f"{ours} / {rival}, {length} calls"
        bars.append(Bar.most(f"{name}: worker CPU", ratios(*both), RIVAL_BAR))
        times = ratios(*_same(wall(table, ours, length), wall(table, rival, length)))
        bars.append(Bar.most(f"{name}: wall", times, 1.0))
    return bars


def _same(over: list[float], under: list[float]) -> tuple[list[float], list[float]]:
    count = min(len(over), len(under))
    return over[:count], under[:count]


if __name__ == "__main__":
    main(measure)
