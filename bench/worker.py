"""One worker of one system, in a process of its own, so that its CPU and memory can be read.

`python -m bench.worker SYSTEM ADDRESS QUEUE PROVIDER_URL`. Prints `ready` once it polls. Every
system gets a build id, also those whose documentation does not say so: without one the SDK hashes
every loaded module for seconds.
"""

import asyncio
import ctypes
import gc
import logging
import os
import signal
import sys

from temporalio.client import Client
from temporalio.worker import Worker

from bench import systems


async def main(system: str, address: str, queue: str, url: str) -> None:
    made = systems.setup(system, url)
    client = await Client.connect(address, plugins=list(made.plugins))
    worker = Worker(
        client,
        task_queue=queue,
        workflows=list(made.workflows),
        activities=list(made.activities),
        build_id="bench",
        workflow_runner=systems.runner(),
        max_cached_workflows=int(os.environ.get("BENCH_CACHED", "1000")),  # the SDK's own default
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, settle)
    async with worker:
        print("ready", flush=True)
        await orphaned()


def settle() -> None:
    """Leave only what is in use, so that memory can be compared."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    print("settled", flush=True)


async def orphaned() -> None:
    """Return when the parent is gone: nobody tells a process that."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110
        await asyncio.sleep(2)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(main(*sys.argv[1:]))
    os._exit(0)
