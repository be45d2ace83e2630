import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from executus.mcp import McpServer

BARE = Path(__file__).with_name("bare.py")


def alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


class Journal:
    """What a server process wrote down."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    @property
    def pids(self) -> list[int]:
        return [int(line.split()[1]) for line in self.lines if line.startswith("start ")]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def bare(journal: Journal) -> Callable[..., McpServer]:
    """Declare a server of `bare.py` in the given mode."""

    def declare(mode: str = "ok", **options) -> McpServer:
        args = (str(BARE), mode, str(journal.path))
        return McpServer(name="bare", command=sys.executable, args=args, **options)

    return declare
