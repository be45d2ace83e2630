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


class Told:
    """What a tool last said of itself: the beats that follow say it again, or it would be lost."""

    def __init__(self) -> None:
        self._details: tuple[object, ...] = ()

    def __call__(self, *details: object) -> None:
        """Beat, with these details."""
        self._details = details
        activity.heartbeat(*details)

    def last(self) -> Sequence[object]:
        """The latest details."""
        return self._details


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
