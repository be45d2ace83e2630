"""Tools: typed functions that a model may call.

from executus.tools import ToolContext, tool

@tool(effect="pure")
async def add(a: float, b: float) -> float:
    '''Add two numbers.'''
    return a + b
"""

from executus.errors import ToolError, ToolLost, ToolRetry
from executus.tools.caller import Caller
from executus.tools.context import ToolContext
from executus.tools.registry import Registry, UnknownTool
from executus.tools.tool import Tool, tool

__all__ = [
    "Caller",
    "Registry",
    "Tool",
    "ToolContext",
    "ToolError",
    "ToolLost",
    "ToolRetry",
    "UnknownTool",
    "tool",
]
