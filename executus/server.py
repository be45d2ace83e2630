"""The embedded server: Temporal's own development server, started by us, data in `.executus/`.

For trying things out and for tests on one machine; production has a cluster or Temporal Cloud.
Several processes in one folder share one server. `executus.server_guard` stops it when the last of
them is gone, killed ones included, and what they wrote stays in `temporal.db`.
"""

import asyncio
import importlib.util
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from temporalio.envconfig import ClientConfigProfile

from executus.data import Data
from executus.errors import ConfigError
from executus.folder import make_writable
from executus.server_program import HOST, download_program, find_program, server_command

READY_SECONDS = 30.0
LOG_TAIL = 600
"""Characters of the server's log that an error shows."""


class Running(Data):
    """What `server.json` says about the server of a folder."""

    pid: int
    """Of the guard."""
    address: str
    """host:port of the gRPC front end."""
    ui_url: str
    """Address of the UI, without a slash at the end."""


class EmbeddedServer:
    """One development server per folder, shared by every process that enters it.

    Use it as `async with EmbeddedServer(Path(".executus")) as server:` and connect to
    `server.profile`. `start_seconds` says how long it took, 0.0 for one that ran already. Stopping
    takes it a second; with `wait_for_stop=False` the guard sees to that behind our back.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        ui_port: int = 0,
        namespace: str = "default",
        wait_for_stop: bool = True,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.namespace = namespace
        self.start_seconds = 0.0
        self._ui_port = ui_port
        self._wait_for_stop = wait_for_stop
        self._running: Running | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._stack = AsyncExitStack()

    @property
    def address(self) -> str:
        """host:port of the gRPC front end."""
        return self._entered().address

    @property
    def ui_url(self) -> str:
        """Address of the UI, without a slash at the end."""
        return self._entered().ui_url

    @property
    def profile(self) -> ClientConfigProfile:
        """How to connect to it."""
        return ClientConfigProfile(address=self.address, namespace=self.namespace)

    async def __aenter__(self) -> Self:
        make_writable(self.data_dir)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._lock("server.users", shared=True))
            async with self._lock("server.start", shared=False):
                self._running = await self._find() or await self._start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running = None
        await self._stack.aclose()
        if self._wait_for_stop:
            await self._stopped()
        if self._guard is not None and self._guard.poll() is None:
            self._guard.returncode = 0  # it outlives us on purpose: no ResourceWarning

    async def _stopped(self) -> None:
        """Wait for the end of the server if nobody else uses it."""
        with (self.data_dir / "server.users").open("a") as file:
            last = _locking()(file, shared=False)
        if last:
            await asyncio.to_thread(self._wait_for_guard)

    def _wait_for_guard(self) -> None:
        end = time.monotonic() + READY_SECONDS
        while (self.data_dir / "server.json").exists() and time.monotonic() < end:
            time.sleep(
                0.05
            )  # another process may have started it, so there is no child to wait for
        if self._guard is not None:
            self._guard.wait(READY_SECONDS)

    def _entered(self) -> Running:
        if self._running is None:
            msg = "the embedded server is not running here; use `async with EmbeddedServer(...)`"
            raise ConfigError(msg)
        return self._running

    @asynccontextmanager
    async def _lock(self, name: str, *, shared: bool) -> AsyncGenerator[None]:
        """Hold a file lock; waits for a server that is just stopping, or one that is starting."""
        take = _locking()
        with (self.data_dir / name).open("a") as file:
            end = time.monotonic() + 2 * READY_SECONDS
            while not take(file, shared=shared):
                if time.monotonic() > end:
                    msg = f"{self.data_dir / name} stays locked; is another executus hanging there?"
                    raise ConfigError(msg)
                await asyncio.sleep(0.05)
            yield

    async def _find(self) -> Running | None:
        """The server that already runs for this folder."""
        try:
            running = Running.model_validate_json((self.data_dir / "server.json").read_bytes())
        except (OSError, ValueError):
            return None
        return running if await _answers(running.address, self.namespace, 3.0) else None

    async def _start(self) -> Running:
        began = time.monotonic()
        binary = find_program() or await download_program(self.data_dir / "bin")
        log = self.data_dir / "temporal.log"
        for ui_port in (self._ui_port, 0):
            port, ui = _free_ports(ui_port)
            with log.open("w") as output:
                guard = self._spawn(binary, port, ui, output)
            running = Running(pid=guard.pid, address=f"{HOST}:{port}", ui_url=f"http://{HOST}:{ui}")
            if await self._ready(guard, running.address):
                self._guard = guard
                _write_atomically(self.data_dir / "server.json", running.model_dump_json())
                self.start_seconds = time.monotonic() - began
                return running
            guard.terminate()
            guard.wait()
        msg = f"the embedded Temporal server did not start; {log} ends: {_tail(log)}"
        raise ConfigError(msg)

    def _spawn(
        self, binary: Path, port: int, ui_port: int, output: IO[str]
    ) -> "subprocess.Popen[bytes]":
        guard = importlib.util.find_spec("executus.server_guard")
        script = str(guard.origin) if guard is not None else ""
        files = [str(self.data_dir / "server.users"), str(self.data_dir / "server.json")]
        command = server_command(
            binary,
            database=self.data_dir / "temporal.db",
            port=port,
            ui_port=ui_port,
            namespace=self.namespace,
        )
        return subprocess.Popen(  # noqa: S603 - our own script and binary
            [sys.executable, "-I", script, *files, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C in a terminal is for the command, not for the server
        )

    async def _ready(self, guard: "subprocess.Popen[bytes]", address: str) -> bool:
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end and guard.poll() is None:
            if await _answers(address, self.namespace, 1.0):
                return guard.poll() is None
            await asyncio.sleep(0.05)
        return False


class _Lock(Protocol):
    def __call__(self, file: IO[str], *, shared: bool) -> bool: ...


def _locking() -> _Lock:
    """How to take a file lock without waiting.

    Raises:
        ConfigError: On Windows, which has no locks that end with their holder.
    """
    try:
        from executus.server_guard import try_lock  # noqa: PLC0415 - needs fcntl
    except ImportError:
        msg = "the embedded server needs Linux or macOS; set TEMPORAL_ADDRESS to use another"
        raise ConfigError(msg) from None
    return try_lock


async def _answers(address: str, namespace: str, seconds: float) -> bool:
    from executus.connect import connect  # noqa: PLC0415 - keeps `--help` quick

    profile = ClientConfigProfile(address=address, namespace=namespace)
    try:
        await connect(profile, seconds=seconds)
    except ConfigError:
        return False
    return True


def _free_ports(ui_port: int) -> tuple[int, int]:
    """Two free ports; the second is `ui_port` when nobody has it."""
    with socket.socket() as first, socket.socket() as second:
        first.bind((HOST, 0))
        try:
            second.bind((HOST, ui_port))
        except OSError:
            second.bind((HOST, 0))
        return first.getsockname()[1], second.getsockname()[1]


def _write_atomically(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def _tail(log: Path) -> str:
    return json.dumps(log.read_text(errors="replace")[-LOG_TAIL:].strip())
