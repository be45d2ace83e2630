"""Tools: typed functions that a model may call.

from executus.tools import ToolContext, tool

@tool(effect="pure")
async def add(a: float, b: float) -> float:
"Add two numbers."
return a + b
"""
