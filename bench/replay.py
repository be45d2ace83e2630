"""What replaying a run costs: `python -m bench.replay [--json] [--quick]`.

A replay is what a worker does when it takes over a run whose state it does not have: after a crash,
a deployment, or an eviction. It happens inside a workflow task, whose deadlock detector fires after
two seconds. One run of 100 calls with 5 KB results per system, its history replayed in a process of
its own; CPU of all threads, the median of five replays, and the very first one beside it.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from bench.harness import bed, noted, output_of
from bench.outcome import COMPLETED, Bar, Options, Report, main
from bench.systems import EXECUTUS, LOCAL, available

CALLS, SIZE = 100, 5_000
MOST = 0.5


async def measure(options: Options) -> Report:
    """Run once, replay several times."""
    results: list[dict[str, Any]] = []
    names = options.chosen(available())
    if options.quick:
        names = [name for name in names if name in (EXECUTUS, LOCAL)]
    async with bed() as place:
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                async with place.workers([name]) as (worker,):
                    handle = await place.start(name, worker.queue, CALLS, SIZE)
                    status = await place.ended(handle, 180)
                history = await handle.fetch_history()
                file = Path(folder) / f"{name}.json"
                file.write_text(history.to_json())
                with noted(f"replays of {name}"):
                    line = await output_of("-m", "bench.replayer", name, place.url, str(file))
                spent = json.loads(line)
                results.append(
                    {
                        "system": name,
                        "status": status,
                        "events": len(history.events),
                        "history_mb": round(sum(e.ByteSize() for e in history.events) / 1e6, 3),
                        "replay_cpu_s": round(spent["median"], 3),
                        "first_replay_cpu_s": round(spent["first"], 3),
                    }
                )
    bars: list[Bar] = []
    for name in (EXECUTUS, LOCAL):
        row = next((row for row in results if row["system"] == name), None)
        bar = Bar.most(
            f"{name}: CPU seconds of one replay of {CALLS} calls", row and row["replay_cpu_s"], MOST
        )
        bars.append(bar.missed() if row and row["status"] != COMPLETED else bar)
    return Report("replay", results, bars)


if __name__ == "__main__":
    main(measure)
