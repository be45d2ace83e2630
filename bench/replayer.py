"""Replays a history in a process of its own: `python -m bench.replayer SYSTEM URL FILE [bare]`.

Prints JSON: CPU seconds (user + system, all threads) of the first replay, which also pays for what
is made once, and the median and the best of the next ones. `bare`: without the SDK's sandbox.
"""

import asyncio
import json
import logging
import os
import sys
import time
from pathlib import Path
from statistics import median

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from bench import systems

TIMES = 5


async def main(system: str, url: str, file: str, how: str = "") -> None:
    runner = UnsandboxedWorkflowRunner() if how == "bare" else systems.runner()
    made = systems.setup(system, url)
    history = WorkflowHistory.from_json("replayed", Path(file).read_text())  # noqa: ASYNC240
    spent: list[float] = []
    for _ in range(1 + TIMES):
        replayer = Replayer(
            workflows=list(made.workflows),
            plugins=list(made.plugins),
            build_id="bench",
            workflow_runner=runner,
        )
        begun = time.process_time()
        await replayer.replay_workflow(history)
        spent.append(time.process_time() - begun)
    later = spent[1:]
    told = {"first": spent[0], "median": median(later), "best": min(later)}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(main(*sys.argv[1:]))
    os._exit(0)
