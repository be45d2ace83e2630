"""The command line: `executus`."""

from executus.cli.app import main

__all__ = ["main"]
