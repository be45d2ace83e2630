"""The HTTP side: HTTP/1.1 with keep-alive on an ephemeral port, a journal, clean shutdown."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from tests.provider_server.replies import Attempts, Reply, Status, Turn
from tests.provider_server.wires import PATHS, Api, error_body, events, position


@dataclass(frozen=True)
class Exchange:
    """One request as it arrived."""

    api: Api
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    raw: bytes
    body: dict[str, Any]
    position: int
    """Assistant turns in it."""
    at: float = field(default_factory=time.monotonic)

    @property
    def model(self) -> str:
        return str(self.body.get("model"))


Entry = Reply | Callable[[Exchange], Reply]


class ProviderServer:
    """Scripted provider; use as an async context manager."""

    def __init__(self) -> None:
        self.journal: list[Exchange] = []
        """Every request in order of arrival."""
        self.billed = 0
        """Turns that were begun to be answered: what a provider would charge."""
        self.connections = 0
        """TCP connections accepted so far."""
        self._scripts: dict[str, Sequence[Entry] | Callable[[Exchange], Reply]] = {}
        self._seen: Counter[bytes] = Counter()
        self._arrival = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

    def script(self, model: str, replies: Sequence[Entry] | Callable[[Exchange], Reply]) -> None:
        """What `model` answers: one entry per turn, or a function of the request."""
        self._scripts[model] = replies

    async def received(self, requests: int = 1) -> None:
        """Wait until that many requests have arrived in all."""
        while len(self.journal) < requests:
            self._arrival.clear()
            await self._arrival.wait()

    @property
    def anthropic_url(self) -> str:
        """`base_url` for Anthropic clients."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def openai_url(self) -> str:
        """`base_url` for OpenAI clients, both formats."""
        return f"http://127.0.0.1:{self._port}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._serve(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection may carry another."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.rstrip().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        path = request.split(" ")[1].partition("?")[0]
        api = PATHS.get(path)
        if api is None:
            await _plain(writer, Status(404, body=b"no such path"), b"no such path")
            return True
        body = json.loads(raw)
        exchange = Exchange(api, path, headers, raw, body, position(api, body))
        self.journal.append(exchange)
        self._arrival.set()
        reply = self._choose(exchange)
        if isinstance(reply, Status):
            await _plain(writer, reply, error_body(api, reply))
            return True
        self.billed += 1
        return await self._stream(reader, writer, exchange, reply)

    def _choose(self, exchange: Exchange) -> Turn | Status:
        script = self._scripts.get(exchange.model)
        if script is None:
            told = f"The model `{exchange.model}` does not exist"
            return Status(404, told, error_code="model_not_found")
        if callable(script):
            entry: Entry = script
        elif exchange.position < len(script):
            entry = script[exchange.position]
        else:
            return Status(400, f"the script has only {len(script)} replies")
        reply = entry(exchange) if callable(entry) else entry
        while isinstance(reply, Attempts):
            n = self._seen[exchange.raw]
            self._seen[exchange.raw] += 1
            reply = reply.replies[min(n, len(reply.replies) - 1)]
        return reply

    async def _stream(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        exchange: Exchange,
        turn: Turn,
    ) -> bool:
        await asyncio.sleep(turn.delay)
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for event in events(exchange.api, turn, exchange.model):
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(turn.pace)
        if turn.broken == "drop":
            writer.transport.abort()
            return False
        if turn.broken == "stall":
            await reader.read(1)  # until the client gives up
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


async def _plain(writer: asyncio.StreamWriter, reply: Status, body: bytes) -> None:
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **reply.headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {reply.code} Status\r\n{head}\r\n".encode("latin-1") + body)
    await writer.drain()
