"""How fast a worker is there, and what a waiting run takes: `python -m bench.cold`.

start: seconds from `python -m bench.worker` to the result of a run of one call that was waiting
for it: interpreter, imports, connection, first workflow task, model, tool, answer. Every system has
a build id, which spares it seconds of hashing; see bench/worker.py. Each system starts once before,
not counted, so that Python finds its bytecode, as after an installation with pip: compiling all
sources again takes every system one second more, and is what a start costs where
PYTHONDONTWRITEBYTECODE is set and nothing was compiled at installation. memory: what the worker's
own memory (RSS without program files) grows by for each more run that stands still in its cache,
waiting for a tool that nobody serves; the median of three workers. Before each reading the worker
collects garbage and gives free memory back: without that, the tens of megabytes that its start left
behind were filled or freed in between, and the difference of two readings meant nothing (it came
out between -75 and 150 KB). A figure that is not positive meets no bar.
"""

import asyncio
import time
from typing import Any

from temporalio.client import WorkflowHandle

from bench.harness import Bed, Worker, bed, middle, new_queue, noted, ratios, stop
from bench.outcome import COMPLETED, Bar, Options, Report, main
from bench.systems import EXECUTUS, FLOOR, RIVALS, available

REPEATS = 5
MOST_SECONDS, MOST_KB = 2.0, 100.0
FEW, MANY = 30, 430
"""Waiting runs at the first and the second reading. A reading is exact to about 1 MB: pages that
malloc holds and uses in part. Between 30 and 180 runs that was 7 KB a run of noise."""
CACHED = "2000"
"""What every system's worker may keep: more than that. executus' own default is 200."""


async def measure(options: Options) -> Report:
    """Cold starts, alternating; then the memory of waiting runs."""
    names = [name for name in options.chosen(available()) if name != "executus-local"]
    results: list[dict[str, Any]] = []
    bars: list[Bar] = []
    async with bed() as place:
        if options.wants("start"):
            repeats = 2 if options.quick else options.repeats or REPEATS
            seconds: dict[str, list[float]] = {name: [] for name in names}
            cpu: dict[str, list[float]] = {name: [] for name in names}
            for turn in range(repeats + 1):
                for name in names:
                    with noted(f"{turn}: start of {name}"):
                        wall, spent = await _start(place, name)
                    if turn:
                        seconds[name].append(wall)
                        cpu[name].append(spent)
            results += [
                {
                    "measure": "worker start to first completed run, s",
                    "system": name,
                    "median": round(middle(found), 2),
                    "best": round(min(found), 2),
                    "worst": round(max(found), 2),
                    "cpu": round(middle(cpu[name]), 2),
                }
                for name, found in seconds.items()
            ]
            bars += _start_bars(seconds)
        if options.wants("memory"):
            for name in (name for name in names if name in (EXECUTUS, FLOOR)):
                with noted(f"memory of {name}"):
                    many, times = (80, 1) if options.quick else (MANY, 3)
                    found = [await _memory(place, name, many) / 1e3 for _ in range(times)]
                results.append(
                    {
                        "measure": "memory per cached idle run, KB",
                        "system": name,
                        "median": round(middle(found), 1),
                        "best": round(min(found), 1),
                        "worst": round(max(found), 1),
                    }
                )
                if name == EXECUTUS:
                    values = None if options.quick else found
                    bar = Bar.most("memory per cached idle run, KB", values, MOST_KB)
                    bars.append(bar if bar.value is None or bar.value > 0 else bar.missed())
    return Report("cold", results, bars)


def _start_bars(seconds: dict[str, list[float]]) -> list[Bar]:
    mine = seconds.get(EXECUTUS, [])
    bars = [Bar.most("worker start to first completed run, s", mine, MOST_SECONDS)]
    for rival in RIVALS:
        ahead = ratios(mine, seconds[rival]) if mine and seconds.get(rival) else None
        bars.append(Bar.most(f"the same / {rival}", ahead, 1.0))
    return bars


async def _start(place: Bed, name: str) -> tuple[float, float]:
    """Seconds of wall and of the worker's CPU."""
    queue = new_queue(name)
    handle = await place.start(name, queue, 1, 1_000)
    begun = time.perf_counter()
    worker = await place.spawn(name, queue)
    try:
        status = await place.ended(handle, 60)
        if status != COMPLETED:
            raise RuntimeError(f"the first run of {name}: {status}")
        return time.perf_counter() - begun, worker.cpu()
    finally:
        await stop(worker.process)


async def _memory(place: Bed, name: str, many: int) -> float:
    """Bytes for each run more."""
    async with place.worker(name, BENCH_TOOL_QUEUE="nowhere", BENCH_CACHED=CACHED) as worker:
        handles = await _idle(place, worker, FEW)
        few = await _settled(worker)
        handles += await _idle(place, worker, many - FEW)
        grown = await _settled(worker) - few
        for handle in handles:
            await handle.terminate("bench: done")
        return grown / (many - FEW)


async def _idle(place: Bed, worker: Worker, many: int) -> list[WorkflowHandle[Any, Any]]:
    """Runs that wait for their tool, whose model calls are done.

    Ten at a time: a run waits 60 s for a tool's worker, and one by one a slow machine took longer.
    """
    handles: list[WorkflowHandle[Any, Any]] = []
    while len(handles) < many:
        done = await place.served()
        now = range(min(10, many - len(handles)))
        handles += [
            await place.start(worker.system, worker.queue, 1, 1_000, idle=True) for _ in now
        ]
        while await place.served() < done + len(now):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.005)
    return handles


async def _settled(worker: Worker) -> int:
    """Memory once the last workflow task is over."""
    await asyncio.sleep(1.5)
    await worker.settle()
    return worker.own_memory()


if __name__ == "__main__":
    main(measure)
