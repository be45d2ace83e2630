import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PROGRAM = [sys.executable, "-c", "from executus.cli import main; main()"]
OURS = ("EXECUTUS_", "TEMPORAL_", "OPENAI_", "ANTHROPIC_")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(OURS)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "no-temporal.toml"))


Process = subprocess.Popen[str]


@pytest.fixture
def start(tmp_path: Path):
    """Start an `executus` command line in an empty folder; killed at the end of the test."""
    started: list[Process] = []

    def call(arguments: Sequence[str], *, cwd: Path = tmp_path, **variables: str) -> Process:
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=cwd,
            env=os.environ | {"EXECUTUS_UI_PORT": "0"} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield call
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def executus(start: Callable[..., Process]):
    """Run an `executus` command line to its end: exit code, stdout, stderr."""

    def call(*arguments: str, **variables: str) -> tuple[int, str, str]:
        process = start(arguments, **variables)
        out, err = process.communicate(timeout=90)
        return process.returncode, out, err

    return call
