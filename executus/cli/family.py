"""The runs of sub-agents below a run, on every level."""

from collections.abc import AsyncIterator, Awaitable, Callable

from temporalio.service import RPCError, RPCStatusCode

from executus.state import LiveState
from executus.waits import running_children


async def below(
    state: LiveState, ask: Callable[[str], Awaitable[LiveState]]
) -> AsyncIterator[LiveState]:
    """State of each run that goes on below `state`, level by level; `ask` tells a run's by its id.

    A child that its parent has begun and Temporal has not is passed over: it waits for nobody.
    Else raises what `ask` raises.
    """
    left = running_children(state)
    while left:
        try:
            child = await ask(left.pop(0))
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                continue
            raise
        yield child
        left += running_children(child)
