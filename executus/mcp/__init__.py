"""MCP servers as sources of tools, by the official `mcp` package (extra `mcp`).

Importing this package loads nothing of it: a host that declares no server needs no extra.
"""

from executus.mcp.server import McpServer

__all__ = ["McpServer"]
