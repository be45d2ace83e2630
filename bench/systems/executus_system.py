"""executus with ordinary tools or with a local one; no port is wired.

BENCH_WINDOW is the model's context window, for runs that are to fold; BENCH_TOOL_QUEUE puts the
tool on a queue that nobody serves, for runs that are to stand still.
"""

import os
from typing import Any

from bench.systems import LOCAL, Setup
from bench.work import MODEL, TOOL_DOC, TOOL_NAME, page_text
from executus.models.openai_responses import OpenAIResponses
from executus.models.registry import Models
from executus.plugin import ExecutusPlugin
from executus.ports import Ports
from executus.tools import Tool, tool


async def page(number: int, size: int) -> str:
    return page_text(number, size)


def setup(name: str, url: str, ports: Ports | None = None) -> Setup:
    provider = OpenAIResponses(api_key="none", base_url=url)
    window = os.environ.get("BENCH_WINDOW")
    windows = {f"openai/{MODEL}": int(window)} if window else None
    models = Models({"fast": f"openai/{MODEL}"}, providers=[provider], windows=windows)
    plugin = ExecutusPlugin(tools=[_tool(name)], models=models, ports=ports)
    return Setup(plugins=[plugin], close=models.close)


def _tool(name: str) -> Tool[..., str]:
    """Async, as in the other systems: none of them pays for a thread."""
    options: dict[str, Any] = {"local": True} if name == LOCAL else {}
    if queue := os.environ.get("BENCH_TOOL_QUEUE"):
        options = {"task_queue": queue}
    return tool(name=TOOL_NAME, description=TOOL_DOC, effect="pure", **options)(page)
