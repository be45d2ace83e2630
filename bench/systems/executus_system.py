"""executus with ordinary tools, or with a local one. No ports are wired: a bare run."""

from typing import Any

from bench.systems import LOCAL, Setup
from bench.work import MODEL, TOOL_DOC, TOOL_NAME, page_text
from executus.models.openai_responses import OpenAIResponses
from executus.models.registry import Models
from executus.plugin import ExecutusPlugin
from executus.tools import Tool, tool


async def page(number: int, size: int) -> str:
    return page_text(number, size)


def setup(name: str, url: str) -> Setup:
    provider = OpenAIResponses(api_key="none", base_url=url)
    models = Models({"fast": f"openai/{MODEL}"}, providers=[provider])
    return Setup(plugins=[ExecutusPlugin(tools=[_tool(name)], models=models)])


def _tool(name: str) -> Tool[..., str]:
    """Async, as in the other systems: none of them pays for a thread."""
    options: dict[str, Any] = {"local": True} if name == LOCAL else {}
    return tool(name=TOOL_NAME, description=TOOL_DOC, effect="pure", **options)(page)
