"""Automatic heartbeats: prompt cancel, and a dead worker noticed within seconds.

A cancel reaches an activity only in the answer to a heartbeat, and a lost worker is noticed only by
their absence (temporal-sdk.md section 15).
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from temporalio import activity

BEAT_SECONDS = 1.0
"""Between beats. The worker sends at most one a second (`max_heartbeat_throttle_interval`)."""
BEATS = 4
"""In the time after which silence is death: one that came just then would always be too late."""
QUIET = "executus.quiet_seconds"
"""Key in heartbeat details: how long ago the work itself last gave a sign of life."""


def quiet_mark(since: float) -> dict[str, float]:
    """The detail that tells a worker's own beat from one of the work; `since`: monotonic time.

    Seconds, not a time of day: clocks of workers and servers differ.
    """
    return {QUIET: round(time.monotonic() - since, 1)}


def is_mark(detail: object) -> bool:
    """Whether this detail is a mark, and nothing that the work said."""
    return isinstance(detail, dict) and QUIET in detail


def quiet_seconds(details: Iterable[object]) -> float | None:
    """What `quiet_mark` said when the details were sent; None: no sign of life of its own yet."""
    for detail in details:
        value: object = detail.get(QUIET) if isinstance(detail, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        if isinstance(value, int | float) and value >= 0:
            return float(value)
    return None


class Told:
    """What a tool last said of itself: the beats that follow say it again, or it would be lost."""

    def __init__(self) -> None:
        self._details: tuple[object, ...] = ()
        self._at: float | None = None

    def __call__(self, *details: object) -> None:
        """Beat, with these details."""
        self._details, self._at = details, time.monotonic()
        activity.heartbeat(*self.last())

    def last(self) -> Sequence[object]:
        """The latest details, and how old they are."""
        return () if self._at is None else (quiet_mark(self._at), *self._details)


@asynccontextmanager
async def beating(details: Callable[[], Sequence[Any]] = tuple) -> AsyncGenerator[None]:
    """Heartbeat every second while the block runs, with what `details` answers then."""
    timeout = activity.info().heartbeat_timeout
    pause = min(BEAT_SECONDS, timeout.total_seconds() / BEATS) if timeout else BEAT_SECONDS

    async def beat() -> None:
        while True:
            await asyncio.sleep(pause)
            activity.heartbeat(*details())

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
