"""What an agent step costs: wall time, worker CPU, events and history bytes, flat or growing?

`make bench` or `python bench/steps.py [ITERATIONS ...]`: one run per number of iterations, each a
model turn and a tool call with a 2 KB result, on the embedded server with its dispatch settings
(executus/server_program.py). The model is scripted, so all of the time is Temporal's and ours.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from executus import Invocation, Limits, RunnableAgent, RunRequest
from executus.cli.exit import leave
from executus.connect import connect
from executus.models.provider import ModelRequest
from executus.models.registry import Models
from executus.models.scripted import Say, Scripted, call, say
from executus.plugin import ExecutusPlugin
from executus.runs import Runs
from executus.server import EmbeddedServer
from executus.tools import tool

SIZES = (20, 50, 100, 200)
RESULT_BYTES = 2_000
QUEUE = "bench"


@tool(effect="pure")
def page(number: int) -> str:
    """A page of text."""
    return f"{number}:".ljust(RESULT_BYTES, "x")


def turn(request: ModelRequest) -> Say:
    """Ask for one more page until the prompt's number is reached."""
    wanted = int(request.messages[0].message.text.split()[0])
    done = sum(wired.message.role == "assistant" for wired in request.messages)
    return call("page", number=done) if done < wanted else say("done")


async def measure(client: Client, iterations: int) -> None:
    """One run; prints one row."""
    agent = RunnableAgent(
        name="bench",
        tools=("page",),
        max_iterations=iterations + 1,
        max_runtime=600,
        limits=Limits(compaction_ratio=0),
    )
    request = RunRequest(agent=agent, invocation=Invocation(prompt=f"{iterations} pages"))
    wall, cpu = time.perf_counter(), time.process_time()
    result = await Runs(client, QUEUE).run(request)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    about = await client.get_workflow_handle(result.run_id).describe()
    size = about.raw_description.workflow_execution_info.history_size_bytes
    print(
        f"{iterations:>10} {result.status:>8} {wall / iterations * 1000:>8.1f} "
        f"{cpu / iterations * 1000:>8.1f} {about.history_length:>8} {size / 1e6:>8.2f}",
        flush=True,
    )


async def main() -> None:
    """One server, one worker, one warm-up run that is not printed."""
    models = Models({"fast": "scripted/pages"}, providers=[Scripted({"pages": turn})])
    plugin = ExecutusPlugin(tools=[page], models=models)
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedServer(Path(folder)) as server:
            client = await connect(server.profile, plugins=[plugin])
            async with Worker(client, task_queue=QUEUE):
                print("iterations   status  wall ms   cpu ms   events  history MB")
                for size in [int(text) for text in sys.argv[1:]] or SIZES:
                    await measure(client, size)


if __name__ == "__main__":
    asyncio.run(main())
    leave(0)
