"""What is left of a stream that ends badly."""

import asyncio
import gc
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from executus.errors import ModelError
from tests.provider_server import malformed, say, stream_error

from .support import APIS, quiet, request, scripted

LOWER = {
    "Response.aiter_bytes",
    "Response.aiter_raw",
    "BoundAsyncStream.__aiter__",
    "AsyncResponseStream.__aiter__",
}
"""Those that close one another: none may be closed by the collector meanwhile."""


@contextmanager
def collected() -> Iterator[list[str]]:
    """Names of the generators that are left to Python's collector."""
    names: list[str] = []
    hooks = sys.get_asyncgen_hooks()

    def finalizer(generator: AsyncGenerator[Any, Any]) -> None:
        names.append(generator.__qualname__)
        assert hooks.finalizer is not None
        hooks.finalizer(generator)

    sys.set_asyncgen_hooks(finalizer=finalizer)
    try:
        yield names
    finally:
        sys.set_asyncgen_hooks(*hooks)


def stop(_: str) -> None:
    raise RuntimeError("who listens fails")


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("reply", "progress"),
    [
        (stream_error("overloaded_error"), quiet),
        (malformed(), quiet),
        (say("long" * 500), stop),
        (say("fine"), quiet),
    ],
    ids=["error", "malformed", "stopped", "fine"],
)
async def test_what_reads_from_the_connection_is_closed_in_order(api, reply, progress):
    with collected() as names:
        async with scripted(api, reply) as (_, made):
            try:
                await made.complete(request(), progress)
            except ModelError:
                assert reply != say("fine")
            for _ in range(5):
                gc.collect()
                await asyncio.sleep(0)
    assert not LOWER & set(names)
