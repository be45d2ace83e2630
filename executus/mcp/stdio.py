"""An MCP server as a child process, over its stdin and stdout.

The package's own `stdio_client` always hands on HOME, PATH, USER and more of the environment, reads
lines of any length into memory, and leaves a server running whose worker was killed.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from pydantic import ValidationError

from executus.errors import ConfigError
from executus.mcp.server import McpServer
from executus.mcp.wire import MAX_MESSAGE, TOO_LONG, TOO_LONG_TEXT, error_answer

LAUNCHER = Path(__file__).with_name("launch.py")
GRACE = 2.0
"""Seconds to leave after stdin was closed, and again after SIGTERM; then SIGKILL."""
STDERR_TAIL = 4_096
"""Bytes of its stderr that are kept, to say why it died."""
_TEXT = rb'"[^"\\]*"\s*:\s*"[^"\\]*"'
_ID = rb'"id"\s*:\s*(\d{1,15})'
ANSWERED_FIRST = re.compile(
    rb'\s*\{\s*(?:%b\s*,\s*)*(?:%b\s*,\s*(?:%b\s*,\s*)*)?"(?:result|error)"\s*:'
    % (_TEXT, _ID, _TEXT)
)
"""How an oversized answer begins; with the request that it is for, if that stands first. Only
there and at the end is an "id" the request's: those between are what the server answers with."""
ANSWERED_LAST = re.compile(rb",\s*%b\s*(?:,\s*%b\s*)*\}\s*\Z" % (_ID, _TEXT))
"""How it ends, where the request stands last."""
EDGE = 256
"""Bytes of an oversized line that are looked at, at either end."""

Inbox = MemoryObjectSendStream[SessionMessage | Exception]
Outbox = MemoryObjectReceiveStream[SessionMessage]
Streams = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]
"""What the package calls a transport: messages in, messages out."""


class Child:
    """One server process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._stderr = deque[bytes]()

    @classmethod
    async def start(cls, server: McpServer, env: Mapping[str, str]) -> "Child":
        """Start its program with exactly the environment `env`.

        Raises:
            ConfigError: there is no such program, or this system cannot run one.
        """
        program = [_found(server.command or "", env, server.cwd), *server.args]
        if sys.platform == "linux":
            program = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *program]
        try:
            process = await asyncio.create_subprocess_exec(
                *program,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=dict(env),
                cwd=server.cwd,
                start_new_session=True,  # Ctrl-C at the worker is the worker's to handle
                limit=MAX_MESSAGE,
            )
        except OSError as error:
            raise ConfigError(f"cannot start `{server.command}`: {error.strerror}") from None
        return cls(process)

    @property
    def stderr(self) -> str:
        """The end of what it wrote there."""
        return b"".join(self._stderr)[-STDERR_TAIL:].decode("utf-8", "replace")

    async def ended(self) -> str:
        """How it ended; asked once its stdout has."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                code = await self._process.wait()
                return f"killed by signal {-code}" if code < 0 else f"exited with code {code}"
        return "closed its stdout"

    async def keep_stderr(self) -> None:
        """Read stderr to its end, so that a talkative server is never blocked by a full pipe."""
        assert self._process.stderr is not None  # noqa: S101 - started with a pipe
        while chunk := await self._process.stderr.read(STDERR_TAIL):
            self._stderr.append(chunk)
            while len(self._stderr) > 2:  # noqa: PLR2004 - the last whole chunk and a part
                self._stderr.popleft()

    async def read(self, inbox: Inbox) -> None:
        """Hand on every message, until stdout ends or nobody listens."""
        assert self._process.stdout is not None  # noqa: S101 - started with a pipe
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, ConnectionError):
            while (line := await _line(self._process.stdout)) is not None:
                if line:
                    await inbox.send(_message(line))

    async def write(self, outbox: Outbox) -> None:
        """Send every message."""
        assert self._process.stdin is not None  # noqa: S101 - started with a pipe
        async for sent in outbox:
            text = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
            with suppress(ConnectionError):  # its stdout has ended too, or soon will
                self._process.stdin.write(text.encode() + b"\n")
                await self._process.stdin.drain()

    async def stop(self) -> None:
        """Close stdin, wait, then end its whole process group: also what it left there."""
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - started with a pipe
        with suppress(ConnectionError):
            stdin.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if await self._left():
                break
            self._kill(number)
        self._kill(signal.SIGKILL)
        if not await self._left():  # a process of its own, in another group, holds its pipes
            transport: Any = getattr(self._process, "_transport", None)
            transport.close()

    async def _left(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await self._process.wait()
                return True
        return False

    def _kill(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


@asynccontextmanager
async def stdio(child: Child, ended: Callable[[str], None]) -> AsyncGenerator[Streams]:
    """Transport over a started child; calls `ended` with the reason when the child ends first."""
    inbox, messages = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    sent, outbox = anyio.create_memory_object_stream[SessionMessage](0)

    stopping = False

    async def read() -> None:
        async with inbox:
            await child.read(inbox)
            how = await child.ended()
            if not stopping:
                ended(how)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(child.keep_stderr)
        tasks.start_soon(read)
        tasks.start_soon(child.write, outbox)
        try:
            async with messages, sent, outbox:
                yield messages, sent
        finally:
            stopping = True
            with anyio.CancelScope(shield=True):  # or a cancelled owner would leave it running
                await child.stop()
            tasks.cancel_scope.cancel()


def _found(command: str, env: Mapping[str, str], cwd: Path | None) -> str:
    """The program's own path, since the child has no PATH to look it up."""
    if not hasattr(os, "killpg"):
        raise ConfigError("a `command` needs a POSIX system; use a `url` here")
    if "/" in command:
        return str((cwd or Path()).absolute() / command)
    found = shutil.which(command, path=env.get("PATH") or os.environ.get("PATH"))
    if found is None:
        raise ConfigError(f"no program `{command}` on the worker's PATH; give its whole path")
    return found


async def _line(stream: asyncio.StreamReader) -> bytes | None:
    """The next line; of one that is too long, a stand-in for the answer that it holds."""
    try:
        return (await stream.readuntil(b"\n")).strip()
    except asyncio.IncompleteReadError:  # the end, perhaps in the middle of a line
        return None
    except asyncio.LimitOverrunError as error:
        head = await stream.read(EDGE)
        return _oversized(head, await _skip_line(stream, head, error.consumed))


async def _skip_line(stream: asyncio.StreamReader, head: bytes, known: int) -> bytes:
    """Drop the rest of a line of which `known` bytes hold no line end; answers its end."""
    left, tail = known - len(head), b""
    while left > 0:
        chunk = await stream.readexactly(min(left, 65_536))
        left -= len(chunk)
        tail = (tail + chunk)[-EDGE:]
    while True:
        try:
            return (tail + await stream.readuntil(b"\n"))[-EDGE:]
        except asyncio.LimitOverrunError as error:
            tail = (tail + await stream.readexactly(error.consumed))[-EDGE:]
        except asyncio.IncompleteReadError:
            return b""


def _oversized(head: bytes, tail: bytes) -> bytes:
    begins = ANSWERED_FIRST.match(head)
    found = begins if begins is None or begins[1] else ANSWERED_LAST.search(tail)
    if found is None:
        return b""  # nobody's answer, or of an unknown form: that call times out
    return json.dumps(error_answer(TOO_LONG, TOO_LONG_TEXT, int(found[1]))).encode()


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        message: Any = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        return ValueError(f"a line of {len(line)} bytes that is no JSON-RPC message")
    return SessionMessage(message)
