"""A receiver of webhooks over real HTTP: it writes down what comes and answers as told."""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(frozen=True)
class Received:
    """One request as it arrived; header names in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers the n-th request with the n-th answer, those after the last with the last one."""

    answers: Sequence[bytes] = (OK,)
    ssl_context: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    forever: bytes = b""
    """Sent again and again behind the answer, until the other side leaves."""
    seen: list[Received] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """Answers wait for it."""
    port: int = 0
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, self.host, self.port, ssl=self.ssl_context
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        if self.gate is not None:
            self.gate.set()
        await self._server.wait_closed()

    def url(self, host: str = "127.0.0.1", path: str = "/hook", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def received(self, requests: int = 1) -> None:
        while len(self.seen) < requests:
            self._arrived.clear()
            await self._arrived.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in headers.items()}
            body = await reader.readexactly(int(headers["content-length"]))
            answer = self.answers[min(len(self.seen), len(self.answers) - 1)]
            self.seen.append(Received(head[0], headers, body))
            self._arrived.set()
            if self.gate is not None:
                await self.gate.wait()
            writer.write(answer)
            await writer.drain()
            while self.forever:
                writer.write(self.forever)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def answer(status: int, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Told", "content-length: 0", *headers]
    return "\r\n".join([*lines, "", ""]).encode()
