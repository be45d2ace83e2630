"""What audit and budget add to a step: `python -m bench.records [--json] [--quick]`.

The same runs twice, side by side: once with no port, once with audit and budget on SQLite, whose
every commit is on disk (synchronous=FULL). The caller has a money cap and the agent a token cap, so
each call passes the gate. One iteration is a model call and a tool call with a 2 KB result. Both
workers stand all the time and take turns, and so does who begins: what disturbs the machine
disturbs both. Ratios are made within a turn; the median counts. A run is 100 iterations also with
--quick: reserve, open, settle and close are once a run, and would weigh more in a shorter one.

At the end the records must be whole: every run closed, every chain verified, no hold left, and the
tokens that the budget settled are those of the recorded replies.
"""

import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bench.harness import Bed, Measured, Worker, bed, middle, noted, ratios
from bench.outcome import COMPLETED, Bar, Options, Report, main
from bench.systems import EXECUTUS, RECORDS
from bench.systems.executus_records import fresh
from bench.whole import problems

CALLS, SIZE = 100, 2_000
REPEATS, QUICK_REPEATS = 9, 3
BAR = 1.2

Table = dict[str, list[Measured]]


async def measure(options: Options) -> Report:
    """Both systems, in turns, then what the records say."""
    repeats = options.repeats or (QUICK_REPEATS if options.quick else REPEATS)
    table: Table = {EXECUTUS: [], RECORDS: []}
    with tempfile.TemporaryDirectory(prefix="executus-records-") as folder:
        file = Path(folder) / "records.db"
        database = await fresh(f"sqlite:///{file}")
        async with bed() as place, AsyncExitStack() as stack:
            workers: list[Worker] = []
            for name in table:
                made = place.worker(name, BENCH_DATABASE=f"sqlite:///{file}")
                workers.append(await stack.enter_async_context(made))
                await place.run(workers[-1], 3, SIZE)
            before = _bytes(file)
            for turn in range(repeats):
                for worker in workers[:: -1 if turn % 2 else 1]:
                    await _one(place, worker, turn, table)
            grown = (_bytes(file) - before) / (repeats * CALLS)
        found = await problems(database, "caller:anonymous", {"ok": repeats + 1})
        await database.close()
    results = [_row(name, measured) for name, measured in table.items()]
    results[-1]["database_kb"] = round(grown / 1e3, 1)
    return Report("records", results, _bars(table, found))


async def _one(place: Bed, worker: Worker, turn: int, table: Table) -> None:
    with noted(f"{turn + 1}: {worker.system} x {CALLS}"):
        table[worker.system].append(await place.run(worker, CALLS, SIZE, seconds=120))


def _bytes(file: Path) -> int:
    return sum(part.stat().st_size for part in file.parent.glob(f"{file.name}*"))


def _row(name: str, measured: list[Measured]) -> dict[str, Any]:
    return {
        "system": name,
        "calls": CALLS,
        "status": next((m.status for m in measured if m.status != COMPLETED), COMPLETED),
        "turns": len(measured),
        "wall_ms": round(middle(_wall(measured)), 2),
        "worker_cpu_ms": round(middle(_cpu(measured)), 2),
        "rss_mb": round(measured[-1].rss / 1e6, 1),
    }


def _wall(measured: list[Measured]) -> list[float]:
    return [m.wall / CALLS * 1_000 for m in measured]


def _cpu(measured: list[Measured]) -> list[float]:
    return [m.worker_cpu / CALLS * 1_000 for m in measured]


def _bars(table: Table, found: list[str]) -> list[Bar]:
    bars = [
        Bar.most(
            f"{what} per iteration with audit and budget / without",
            ratios(read(table[RECORDS]), read(table[EXECUTUS])),
            BAR,
        )
        for what, read in (("worker CPU", _cpu), ("wall", _wall))
    ]
    statuses = [m.status for measured in table.values() for m in measured]
    bars.append(Bar.done("every run completes", statuses))
    bars.append(Bar.most(f"problems in the records {found[:2] or ''}".strip(), len(found), 0))
    return bars


if __name__ == "__main__":
    main(measure)
