"""Server, provider and workers of a bench, each in a process of its own, and how runs are measured.

CPU is user + system time of the worker's process (psutil), read before the run is started and after
its result came: the server, the provider and this process are not in it. Wall time includes the
server's work. Both are per iteration: one model call and one tool call.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.service import RPCError

from bench import systems
from executus.server import EmbeddedServer

ROOT = Path(__file__).parent.parent
READY_SECONDS = 60.0


@dataclass(slots=True)
class Measured:
    """One run, or one batch of runs, of one system."""

    status: str
    """completed, or how it ended instead."""
    wall: float = 0.0
    """Seconds."""
    worker_cpu: float = 0.0
    """Seconds, of the worker's process."""
    server_cpu: float = 0.0
    """Seconds, of the development server."""
    events: int = 0
    """Of the whole chain of executions."""
    history: int = 0
    """Bytes of the whole chain."""
    executions: int = 1
    """1 + continue-as-new."""
    rss: int = 0
    """Bytes of the worker after it."""


@dataclass(slots=True)
class Worker:
    """A running worker process."""

    system: str
    queue: str
    process: asyncio.subprocess.Process
    stats: psutil.Process = field(init=False)

    def __post_init__(self) -> None:
        self.stats = psutil.Process(self.process.pid)

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        times = self.stats.cpu_times()
        return times.user + times.system

    def rss(self) -> int:
        """Bytes resident now."""
        return self.stats.memory_info().rss

    async def settle(self) -> None:
        """Have the worker collect garbage and give free memory back: see bench/worker.py."""
        self.process.send_signal(signal.SIGUSR1)
        await _line(self.process, "settled")

    def own_memory(self) -> int:
        """Bytes that are this process' own: RSS without program files, swapped pages included."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            return self.rss()
        lines = (line.split() for line in status.read_text().splitlines())
        sizes = {line[0]: int(line[1]) for line in lines if line[0] in {"RssAnon:", "VmSwap:"}}
        return 1_024 * sum(sizes.values())


class Bed:
    """One server and one provider, and the workers that were started on them."""

    def __init__(self, client: Client, address: str, url: str, server: psutil.Process) -> None:
        self.client = client
        self.address = address
        self.url = url
        self._server = server

    def server_cpu(self) -> float:
        """Seconds of CPU of the server so far."""
        times = self._server.cpu_times()
        return times.user + times.system

    async def served(self) -> int:
        """Replies that the provider gave so far."""
        host, port = self.url.removeprefix("http://").removesuffix("/v1").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /requests HTTP/1.1\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        writer.close()
        return int(body)

    async def spawn(self, system: str, queue: str, **extra: str) -> Worker:
        """A worker process that was just started; `ready` comes on its stdout."""
        arguments = ("-m", "bench.worker", system, self.address, queue, self.url)
        return Worker(system, queue, await _python(*arguments, extra=extra))

    @asynccontextmanager
    async def worker(self, system: str, **extra: str) -> AsyncGenerator[Worker]:
        """A worker that polls; `extra` is its environment."""
        worker = await self.spawn(system, new_queue(system), **extra)
        try:
            await _line(worker.process, "ready")
            yield worker
        finally:
            await stop(worker.process)

    @asynccontextmanager
    async def workers(self, names: Iterable[str]) -> AsyncGenerator[list[Worker]]:
        """A worker of each system, all at once; each has done a first run, so it is warm."""
        async with AsyncExitStack() as stack:
            found = [await stack.enter_async_context(self.worker(name)) for name in names]
            for worker in found:
                await self.run(worker, 3, 100)
            yield found

    async def start(
        self,
        system: str,
        queue: str,
        calls: int,
        size: int,
        *,
        padding: int = 0,
        compaction: bool = False,
        idle: bool = False,
    ) -> WorkflowHandle[Any, Any]:
        """Start one run."""
        kind, argument = systems.request(
            system, calls, size, padding=padding, compaction=compaction, idle=idle
        )
        return await self.client.start_workflow(
            kind,
            argument,
            id=f"{queue}-{uuid.uuid4().hex[:8]}",
            task_queue=queue,
            task_timeout=timedelta(seconds=30),
        )

    async def run(
        self,
        worker: Worker,
        calls: int,
        size: int,
        *,
        seconds: float = 600.0,
        padding: int = 0,
        compaction: bool = False,
    ) -> Measured:
        """One run, measured. Over `seconds` it counts as stuck and is terminated."""
        server, cpu, wall = self.server_cpu(), worker.cpu(), time.perf_counter()
        handle = await self.start(
            worker.system, worker.queue, calls, size, padding=padding, compaction=compaction
        )
        measured = Measured(
            status=await self.ended(handle, seconds),
            wall=time.perf_counter() - wall,
            worker_cpu=worker.cpu() - cpu,
            server_cpu=self.server_cpu() - server,
            rss=worker.rss(),
        )
        await self.sizes(handle, measured)
        return measured

    async def ended(self, handle: WorkflowHandle[Any, Any], seconds: float) -> str:
        """How the run ended."""
        try:
            result = await asyncio.wait_for(handle.result(), seconds)
        except TimeoutError:
            await handle.terminate("bench: it does not end")
            return f"stuck: still running after {seconds:.0f} s"
        except WorkflowFailureError as error:
            about = await handle.describe()
            cause = str(error.cause)[:160]
            return f"{(about.status or WorkflowExecutionStatus.FAILED).name.lower()}: {cause}"
        status = result.get("status", "ok") if isinstance(result, dict) else "ok"
        return "completed" if status == "ok" else f"completed: {status}"

    async def sizes(self, handle: WorkflowHandle[Any, Any], measured: Measured) -> None:
        """Events and bytes of every execution of the chain."""
        run_id: str | None = handle.first_execution_run_id
        measured.executions = 0
        while run_id:
            about = await self.client.get_workflow_handle(handle.id, run_id=run_id).describe()
            measured.executions += 1
            measured.events += about.history_length or 0
            measured.history += about.raw_description.workflow_execution_info.history_size_bytes
            run_id = await self._next(handle.id, run_id)

    async def _next(self, workflow_id: str, run_id: str) -> str | None:
        handle = self.client.get_workflow_handle(workflow_id, run_id=run_id)
        try:
            events = [
                event
                async for event in handle.fetch_history_events(
                    event_filter_type=2  # type: ignore[arg-type]  # the close event only
                )
            ]
        except RPCError:
            return None
        last = events[-1].workflow_execution_continued_as_new_event_attributes if events else None
        return (last.new_execution_run_id or None) if last else None


async def _python(
    *arguments: str, extra: dict[str, str] | None = None
) -> asyncio.subprocess.Process:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI", "ANTHROPIC"))}
    environment |= {"OPENAI_AGENTS_DISABLE_TRACING": "1", "PYTHONWARNINGS": "ignore"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # see bench/cold.py
    environment |= extra or {}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=ROOT,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        limit=64 * 1024 * 1024,
    )


async def _line(process: asyncio.subprocess.Process, expected: str | None = None) -> str:
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), READY_SECONDS)).decode().strip()
    if not line or (expected and line != expected):
        msg = f"a process of the bench said {line!r} instead of {expected or 'anything'}"
        raise RuntimeError(msg)
    return line


async def stop(process: asyncio.subprocess.Process) -> None:
    """End a process that we started; it keeps nothing that is worth a goodbye."""
    if process.returncode is None:
        process.kill()
    await process.wait()


async def output_of(*arguments: str) -> str:
    """First line that a Python process prints; it must end well."""
    process = await _python(*arguments)
    out, _ = await process.communicate()
    if process.returncode:
        msg = f"python {' '.join(arguments[:3])} ended with {process.returncode}"
        raise RuntimeError(msg)
    return out.decode().strip().splitlines()[-1]


@asynccontextmanager
async def bed() -> AsyncGenerator[Bed]:
    """A fresh server with a database file, and a provider."""
    with tempfile.TemporaryDirectory(prefix="executus-bench-") as folder:
        async with EmbeddedServer(Path(folder)) as server:
            process = await _python("-m", "bench.provider")
            try:
                url = f"http://127.0.0.1:{await _line(process)}/v1"
                client = await Client.connect(server.address)
                yield Bed(client, server.address, url, _server_process(server.address))
            finally:
                await stop(process)


def _server_process(address: str) -> psutil.Process:
    port = int(address.rpartition(":")[2])
    for process in psutil.process_iter(["name", "cmdline"]):
        arguments = process.info["cmdline"] or []
        if process.info["name"] == "temporal" and str(port) in arguments:
            return process
    msg = f"no server process with port {port}"
    raise RuntimeError(msg)


def new_queue(system: str) -> str:
    """A task queue of its own."""
    return f"{system}-{uuid.uuid4().hex[:6]}"


def middle(values: Iterable[float]) -> float:
    """The median; NaN of nothing."""
    found = list(values)
    return median(found) if found else float("nan")


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Ratio within each repetition: what disturbs the machine for a while disturbs both sides."""
    return [a / b for a, b in zip(over, under, strict=True) if b > 0]


@contextmanager
def noted(text: str) -> Iterator[None]:
    """Say on stderr what is going on and how long it took."""
    begun = time.perf_counter()
    print(f"  {text} ...", end="", file=sys.stderr, flush=True)
    yield
    print(f" {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)
