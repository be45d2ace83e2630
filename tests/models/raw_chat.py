"""A chat server that sends exactly the events of a test, for what odd servers send."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from executus.message import Message
from executus.models.openai_chat import OpenAIChat
from executus.models.provider import ModelReply
from tests.models.support import KEY, quiet, request

DONE = b"data: [DONE]\n\n"


def sse(event: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(event).encode()


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


@asynccontextmanager
async def raw(*events: bytes, cut: bool = False) -> AsyncIterator[OpenAIChat]:
    """A provider whose server answers with `events`. `cut`: the connection breaks after them."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if b"content-length" in line)
        await reader.readexactly(int(length.partition(b":")[2]))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
        writer.write(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n")
        for event in events:
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        writer.write(b"" if cut else b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = OpenAIChat(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1")
    try:
        yield made
    finally:
        await made.close()
        server.close()
        await server.wait_closed()


async def answered(*events: Any, asked: Message | None = None) -> ModelReply:
    """The reply that these events make."""
    async with raw(*map(sse, events), DONE) as made:
        return await made.complete(request(*([asked] if asked else [])), quiet)
