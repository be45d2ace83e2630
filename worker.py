"""A worker of your own, to copy: what executus needs from a host stands here and nowhere else.

Start Temporal (`temporal server start-dev`, or a cluster: TEMPORAL_ADDRESS), then
`python worker.py`. Runs are started by any Temporal client, see README.md.
"""

import asyncio
import sys

from temporalio.worker import Worker

from executus import RunnableAgent
from executus.cli.exit import OK, USAGE, leave
from executus.cli.signals import stop_event
from executus.connect import connect, load_profile
from executus.errors import UserError
from executus.plugin import ExecutusPlugin
from executus.prometheus import serve_metrics
from executus.settings import load_settings
from executus.tools import tool


@tool(effect="pure")
def word_count(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


async def main() -> None:
    """Serve until SIGTERM or Ctrl-C, then let running steps finish."""
    settings = load_settings()
    editor = RunnableAgent(name="editor", tools=("word_count",), model_tier="fast")
    plugin = ExecutusPlugin(agents=[editor], tools=[word_count])
    runtime = serve_metrics(settings.metrics_address)
    client = await connect(load_profile(), plugins=[plugin], runtime=runtime)
    async with Worker(client, task_queue=settings.task_queue):
        print(f"serving task queue {settings.task_queue}", flush=True)
        await stop_event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except UserError as error:  # a wrong address or setting: a line says it, no traceback
        print(f"worker: {error}", file=sys.stderr)
        leave(USAGE)
    leave(OK)  # a process that used Temporal may abort in interpreter shutdown (cli/exit.py)
