"""Wait for a task through every cancel: the base of a cleanup that no cancel can enter.

Measured in temporal-sdk.md section 1: a cancel that arrives while cleanup runs defeats `finally`,
`asyncio.shield` and every activity cancellation type. What holds is a task of its own, awaited in a
loop that only takes note of cancels.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any


async def wait_for_end(
    task: asyncio.Task[Any],
    *,
    on_cancel: Callable[[], None] | None = None,
    others: Sequence[asyncio.Task[Any]] = (),
) -> None:
    """Return when `task` or one of `others` is done; tell `on_cancel` of every cancel meanwhile.

    Never raises for an outcome of a task. A future and its callbacks instead of `workflow.wait`,
    whose two coroutines would be kept by every run that waits.
    """
    awaited = (task, *others)
    while not any(one.done() for one in awaited):
        over = asyncio.get_running_loop().create_future()
        wake = partial(_wake, over)
        for one in awaited:
            one.add_done_callback(wake)
        try:
            await over
        except asyncio.CancelledError:
            if on_cancel is not None:
                on_cancel()
        finally:
            for one in awaited:
                one.remove_done_callback(wake)


def _wake(over: asyncio.Future[None], _: asyncio.Task[Any]) -> None:
    if not over.done():
        over.set_result(None)
