"""Automatic heartbeats: prompt cancel, and a dead worker noticed within seconds.

A cancel reaches an activity only in the answer to a heartbeat, and a lost worker is noticed only by
their absence (temporal-sdk.md section 15).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from temporalio import activity

BEAT_SECONDS = 1.0
"""Between beats. The worker sends at most one a second (`max_heartbeat_throttle_interval`)."""


@asynccontextmanager
async def beating(details: Callable[[], Sequence[Any]] = tuple) -> AsyncGenerator[None]:
    """Heartbeat every second while the block runs, with what `details` answers then."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            activity.heartbeat(*details())

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
