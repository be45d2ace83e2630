"""A worker in a process of its own, to be killed. Usage: killed_worker.py ADDRESS QUEUE JOURNAL"""

import asyncio
import sys
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from executus import Defaults
from executus.models.registry import Models
from executus.models.scripted import Scripted, call, say
from executus.plugin import ExecutusPlugin
from executus.ports import Ports
from executus.stores.memory import MemoryAudit
from executus.tools import ToolContext, tool

JOURNAL = Path("journal")


async def note(what: str) -> None:
    """Write a line to the journal, flushed: it tells the test what has really begun."""
    with JOURNAL.open("a") as file:  # noqa: ASYNC230
        file.write(what + "\n")


@tool(timeout=600)
async def pay(ctx: ToolContext) -> str:
    """Pay: must not happen twice."""
    await note(f"pay {ctx.idempotency_key}")
    await asyncio.sleep(600 if not Path(f"{JOURNAL}.go").exists() else 0)
    return "paid"


@tool(timeout=600, effect="idempotent")
async def put(ctx: ToolContext) -> str:
    """Put: may happen again with the same key."""
    await note(f"put {ctx.idempotency_key}")
    await asyncio.sleep(600 if not Path(f"{JOURNAL}.go").exists() else 0)
    return "put"


async def slow(request):
    """Hang until the test says go; the second attempt answers."""
    await note("model")
    await asyncio.sleep(600 if not Path(f"{JOURNAL}.go").exists() else 0)
    return say("answered")


def plugin() -> ExecutusPlugin:
    scripts = {
        "model": [slow],
        "pay": [call("pay"), say("done")],
        "put": [call("put"), say("done")],
    }
    return ExecutusPlugin(
        tools=[pay, put],
        models=Models({}, providers=[Scripted(scripts)]),
        ports=Ports(audit=MemoryAudit()),  # memory dies with a process, and a budget fails closed
        defaults=Defaults(heartbeat_seconds=1.5, max_runtime=120),
    )


async def main(address: str, queue: str) -> None:
    client = await Client.connect(address, plugins=[plugin()])
    async with Worker(client, task_queue=queue):
        await asyncio.Event().wait()


if __name__ == "__main__":
    JOURNAL = Path(sys.argv[3])
    asyncio.run(main(sys.argv[1], sys.argv[2]))
