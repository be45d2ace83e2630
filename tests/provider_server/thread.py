"""The scripted provider beside a test that waits for a process."""

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.provider_server.server import Entry, ProviderServer


@contextmanager
def in_a_thread(scripts: Mapping[str, Sequence[Entry]]) -> Iterator[str]:
    """Serve `scripts` in a thread; the `base_url` for OpenAI clients."""
    ready = threading.Event()
    server, loop, over = ProviderServer(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with server:
            for model, replies in scripts.items():
                server.script(model, replies)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield server.openai_url
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
