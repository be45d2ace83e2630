"""What replaying a run costs: `python -m bench.replay [--json] [--quick]`.

A replay is what a worker does when it takes over a run whose state it does not have: after a crash,
a deployment, or an eviction. It happens inside a workflow task, whose deadlock detector fires after
two seconds. One run of 100 calls with 5 KB results per system, its history replayed five times in a
process of its own; CPU of all threads. The systems take turns, since the speed of a shared machine
changes by the minute: the median of the rounds' medians, the best replay of all, and the median of
the processes' first ones, which pay for what is made once. The floor is replayed a second time
without the SDK's sandbox, which executus' workflow does without, too: what is left is Temporal.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.harness import Bed, bed, middle, noted, output_of
from bench.outcome import COMPLETED, Bar, Options, Report, main
from bench.systems import EXECUTUS, FLOOR, LOCAL, available

CALLS, SIZE = 100, 5_000
ROUNDS = 3
BARE = "floor, no sandbox"
MOST = 0.5


async def measure(options: Options) -> Report:
    """Run once, replay several times."""
    names = options.chosen(available())
    if options.quick:
        names = [name for name in names if name in (EXECUTUS, LOCAL)]
    replays = {name: [name] for name in names}
    if FLOOR in names:
        replays[BARE] = [FLOOR, "bare"]
    spent: dict[str, list[dict[str, float]]] = {name: [] for name in replays}
    async with bed() as place:
        with tempfile.TemporaryDirectory() as folder:
            results = [await _run(place, name, _file(folder, name)) for name in names]
            for turn in range(1 if options.quick else options.repeats or ROUNDS):
                for name, (system, *how) in replays.items():
                    file = str(_file(folder, system))
                    with noted(f"{turn + 1}: replays of {name}"):
                        ran = await output_of("-m", "bench.replayer", system, place.url, file, *how)
                    spent[name].append(json.loads(ran))
    results += [{**row, "system": BARE} for row in results if row["system"] == FLOOR]
    for row in results:
        row.update(_row(spent[row["system"]]))
    bars: list[Bar] = []
    for name in (EXECUTUS, LOCAL):
        row = next((row for row in results if row["system"] == name), None)
        what = f"{name}: CPU seconds of one replay of {CALLS} calls"
        bar = Bar.most(what, row and row["replay_cpu_s"], MOST)
        bars.append(bar.missed() if row and row["status"] != COMPLETED else bar)
    return Report("replay", results, bars)


def _file(folder: str, name: str) -> Path:
    return Path(folder) / f"{name}.json"


async def _run(place: Bed, name: str, file: Path) -> dict[str, Any]:
    """The run whose history is replayed, written to `file`."""
    async with place.workers([name]) as (worker,):
        handle = await place.start(name, worker.queue, CALLS, SIZE)
        status = await place.ended(handle, 180)
    history = await handle.fetch_history()
    file.write_text(history.to_json())  # noqa: ASYNC240 - nothing else goes on
    size = sum(event.ByteSize() for event in history.events)
    return {
        "system": name,
        "status": status,
        "events": len(history.events),
        "history_mb": round(size / 1e6, 3),
    }


def _row(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    return {
        "replay_cpu_s": round(middle(each["median"] for each in rounds), 3),
        "best_cpu_s": round(min(each["best"] for each in rounds), 3),
        "first_cpu_s": round(middle(each["first"] for each in rounds), 3),
    }


if __name__ == "__main__":
    main(measure)
