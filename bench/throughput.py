"""Many short runs at once: `python -m bench.throughput [--json] [--quick]`.

200 runs of 5 calls with 2 KB results, 50 at a time, one worker; worker, server and provider share
the machine. With one machine for everything the server is the limit, so runs per second follow the
number of events and workflow tasks that a run needs, then the worker's CPU. Only the measured
system's worker runs; systems alternate, figures are medians, ratios are made within a repetition.
"""

import asyncio
import time

from bench.harness import Bed, Measured, bed, middle, noted, ratios
from bench.outcome import COMPLETED, Bar, Options, Report, main
from bench.systems import EXECUTUS, LOCAL, RIVALS, available

RUNS, AT_ONCE, CALLS, SIZE = 200, 50, 5, 2_000
REPEATS = 3
FASTER, FASTER_LOCAL, CPU = 1.15, 1.5, 0.6


async def measure(options: Options) -> Report:
    """Batches of runs, one system after the other, several times."""
    names = options.chosen(available())
    runs, at_once = (20, 10) if options.quick else (RUNS, AT_ONCE)
    found: dict[str, list[Measured]] = {name: [] for name in names}
    async with bed() as place:
        for turn in range(1 if options.quick else options.repeats or REPEATS):
            for name in names:
                with noted(f"{turn + 1}: {name}, {runs} runs"):
                    found[name].append(await _batch(place, name, runs, at_once))
    results = [
        {
            "system": name,
            "status": measured[-1].status,
            "runs": runs,
            "runs_per_s": round(middle(runs / m.wall for m in measured), 2),
            "worker_cpu_s": round(middle(m.worker_cpu for m in measured), 2),
            "server_cpu_s": round(middle(m.server_cpu for m in measured), 2),
            "events_per_run": round(measured[-1].events),
            "rss_mb": round(measured[-1].rss / 1e6, 1),
        }
        for name, measured in found.items()
    ]
    return Report("throughput", results, _bars(found, full=not options.quick))


async def _batch(place: Bed, name: str, runs: int, at_once: int) -> Measured:
    async with place.workers([name]) as (worker,):
        gate = asyncio.Semaphore(at_once)
        statuses: list[str] = []

        async def one() -> None:
            async with gate:
                handle = await place.start(name, worker.queue, CALLS, SIZE)
                statuses.append(await place.ended(handle, 300))

        server, cpu, wall = place.server_cpu(), worker.cpu(), time.perf_counter()
        await asyncio.gather(*(one() for _ in range(runs)))
        measured = Measured(
            status=next((s for s in statuses if s != COMPLETED), COMPLETED),
            wall=time.perf_counter() - wall,
            worker_cpu=worker.cpu() - cpu,
            server_cpu=place.server_cpu() - server,
            rss=worker.rss(),
        )
        handle = await place.start(name, worker.queue, CALLS, SIZE)
        await place.ended(handle, 60)
        await place.sizes(handle, measured)
        return measured


def _bars(found: dict[str, list[Measured]], *, full: bool) -> list[Bar]:
    rivals = {name: found[name] for name in RIVALS if found.get(name) and full}
    bars: list[Bar] = []
    for ours, least in ((EXECUTUS, FASTER), (LOCAL, FASTER_LOCAL)):
        mine = found.get(ours, [])
        if any(m.status != COMPLETED for m in mine):
            bars.append(Bar(f"{ours}: every run completes", 0.0, 1.0, ok=False))
        fastest = [min(walls) for walls in zip(*_each(rivals, "wall"), strict=True)]
        leanest = [min(cpus) for cpus in zip(*_each(rivals, "worker_cpu"), strict=True)]
        faster = ratios(fastest, [m.wall for m in mine]) if fastest and mine else None
        lean = ratios([m.worker_cpu for m in mine], leanest) if leanest and mine else None
        bars.append(Bar.least(f"{ours}: runs/s / best rival", faster, least))
        bars.append(Bar.most(f"{ours}: worker CPU / leanest rival", lean, CPU))
    return bars


def _each(rivals: dict[str, list[Measured]], what: str) -> list[list[float]]:
    return [[getattr(m, what) for m in measured] for measured in rivals.values()]


if __name__ == "__main__":
    main(measure)
