"""The runs of sub-agents below a run, on every level."""

from collections.abc import AsyncIterator, Awaitable, Callable

from executus.state import LiveState
from executus.waits import running_children


async def below(
    state: LiveState, ask: Callable[[str], Awaitable[LiveState]]
) -> AsyncIterator[LiveState]:
    """State of each run that goes on below `state`, level by level; `ask` tells a run's by its id.

    Raises what `ask` raises.
    """
    left = running_children(state)
    while left:
        child = await ask(left.pop(0))
        yield child
        left += running_children(child)
