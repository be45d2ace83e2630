"""A fake OpenAI server without latency, in a process of its own: `python -m bench.provider`.

Prints its port, then serves the Responses and the Chat Completions API over plain HTTP with
connections kept alive. The prompt's `[[calls=K size=N]]` says what to do: ask for the tool K times,
then answer. How far a run is, it reads from the last call id in the request: a search of bytes, so
that a request of 5 MB costs it one millisecond and no JSON is parsed. A request without tools (a
summary) gets a short text. `GET /requests` tells how many replies it gave.
"""

import asyncio
import os
import re

from bench.work import ANSWER, MODEL, TOOL_NAME

JOB = re.compile(rb"\[\[calls=(\d+) size=(\d+)\]\]")
CALL = re.compile(rb'call_id"\s*:\s*"call_(\d+)')
LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
STREAM = re.compile(rb'"stream"\s*:\s*true')
CHUNK = 400
"""Bytes after the last `call_id` in which its number stands."""

RESPONSE = (
    '{{"id":"resp_{n}","object":"response","created_at":1790000000,"status":"{status}",'
    f'"model":"{MODEL}",'
    '"error":null,"incomplete_details":null,"instructions":null,"metadata":{{}},"output":[{items}],'
    '"parallel_tool_calls":true,"temperature":1.0,"tool_choice":"auto","tools":[],"top_p":1.0,'
    '"usage":{usage}}}'
)
RESPONSE_USAGE = (
    '{{"input_tokens":{tokens},"input_tokens_details":{{"cached_tokens":0,"cache_write_tokens":0}},'
    '"output_tokens":20,"output_tokens_details":{{"reasoning_tokens":0}},"total_tokens":{total}}}'
)
RESPONSE_CALL = (
    '{{"type":"function_call","id":"fc_{n}","call_id":"call_{n}","status":"completed",'
    f'"name":"{TOOL_NAME}",'
    '"arguments":"{{\\"number\\":{n},\\"size\\":{size}}}"}}'
)
RESPONSE_TEXT = (
    '{{"type":"message","id":"msg_{n}","status":"completed","role":"assistant","content":['
    '{{"type":"output_text","text":"{text}","annotations":[],"logprobs":[]}}]}}'
)
CHAT = (
    '{{"id":"chat_{n}","object":"chat.completion","created":1790000000,'
    f'"model":"{MODEL}",'
    '"choices":[{{"index":0,"finish_reason":"{finish}","message":{message}}}],'
    '"usage":{{"prompt_tokens":{tokens},"completion_tokens":20,"total_tokens":{total}}}}}'
)
CHAT_CALL = (
    '{{"role":"assistant","content":null,"tool_calls":[{{"id":"call_{n}","type":"function",'
    f'"function":{{{{"name":"{TOOL_NAME}",'
    '"arguments":"{{\\"number\\":{n},\\"size\\":{size}}}"}}}}]}}'
)
CHAT_TEXT = '{{"role":"assistant","content":"{text}"}}'


def reply(path: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Content type and body of the answer to one request."""
    job = JOB.search(body)
    calls, size = (int(job[1]), int(job[2])) if job and b'"tools"' in body else (0, 0)
    last = body.rfind(b"call_id")
    found = CALL.search(body, last, last + CHUNK) if last >= 0 else None
    number = int(found[1]) + 1 if found else 1
    fields = {"n": number, "size": size, "tokens": len(body) // 4, "total": len(body) // 4 + 20}
    if path.endswith(b"/chat/completions"):
        return _chat(fields, call=number <= calls)
    return _response(fields, call=number <= calls, stream=bool(STREAM.search(body)))


def _chat(fields: dict[str, int], *, call: bool) -> tuple[bytes, bytes]:
    message = CHAT_CALL.format(**fields) if call else CHAT_TEXT.format(text=ANSWER)
    finish = "tool_calls" if call else "stop"
    return b"application/json", CHAT.format(message=message, finish=finish, **fields).encode()


def _response(fields: dict[str, int], *, call: bool, stream: bool) -> tuple[bytes, bytes]:
    item = RESPONSE_CALL if call else RESPONSE_TEXT
    items = item.format(text=ANSWER, **fields)
    usage = RESPONSE_USAGE.format(**fields)
    whole = RESPONSE.format(status="completed", items=items, usage=usage, **fields)
    if not stream:
        return b"application/json", whole.encode()
    begun = RESPONSE.format(status="in_progress", items="", usage="null", **fields)
    text = (
        f'event: response.created\ndata: {{"type":"response.created","sequence_number":0,'
        f'"response":{begun}}}\n\n'
        f'event: response.output_item.done\ndata: {{"type":"response.output_item.done",'
        f'"sequence_number":1,"output_index":0,"item":{items}}}\n\n'
        f'event: response.completed\ndata: {{"type":"response.completed","sequence_number":2,'
        f'"response":{whole}}}\n\n'
    )
    return b"text/event-stream", text.encode()


class Connection(asyncio.Protocol):
    """One kept-alive connection; requests on it come one after the other."""

    served = 0

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head_end = -1
        self._need = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        if self._head_end < 0:
            self._head_end = self._buffer.find(b"\r\n\r\n")
            if self._head_end < 0:
                return False
            length = LENGTH.search(self._buffer, 0, self._head_end)
            self._need = self._head_end + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < self._need:
            return False
        method, path, _ = bytes(self._buffer[: self._buffer.find(b"\r\n")]).split(b" ", 2)
        if method == b"GET":
            kind, body = b"text/plain", str(Connection.served).encode()
        else:
            Connection.served += 1
            kind, body = reply(path, bytes(self._buffer[self._head_end + 4 : self._need]))
        del self._buffer[: self._need]
        self._head_end = -1
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (kind, len(body), body)
        )
        return bool(self._buffer)


async def serve() -> None:
    """Serve until the parent is gone."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - nobody tells a process that its parent died
        await asyncio.sleep(2)


if __name__ == "__main__":
    asyncio.run(serve())
