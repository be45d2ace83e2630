"""Wait for a task through every cancel: the base of a cleanup that no cancel can enter.

Measured in temporal-sdk.md section 1: a cancel that arrives while cleanup runs defeats `finally`,
`asyncio.shield` and every activity cancellation type. What holds is a task of its own, awaited in a
loop that only takes note of cancels.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from temporalio import workflow


async def wait_for_end(
    task: asyncio.Task[Any],
    *,
    on_cancel: Callable[[], None] | None = None,
    others: Sequence[asyncio.Task[Any]] = (),
) -> None:
    """Return when `task` or one of `others` is done; tell `on_cancel` of every cancel meanwhile.

    Never raises for an outcome of a task. `workflow.wait` keeps the order of its arguments, unlike
    `asyncio.wait`, whose sets a replay could not reproduce.
    """
    while not task.done() and not any(other.done() for other in others):
        try:
            await workflow.wait([task, *others], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if on_cancel is not None:
                on_cancel()
