"""Who asks for tools, and who may have one."""

import inspect
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from executus.agent import Visibility
from executus.errors import ConfigError

WIDTH: dict[Visibility, int] = {"private": 0, "shared": 1, "public": 2}
"""Audiences, from narrow to wide."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity that a grant is for; from the invocation, never from a model's words."""

    caller_id: str
    """Who asks."""
    tenant_id: str = ""
    """Their organisation; empty = none."""
    agent_id: str = ""
    """What runs for them."""


Callers = Collection[str] | Callable[[Caller], bool] | None
"""Caller ids, or a predicate. None: everybody."""


def checked_callers(callers: Callers) -> Callers:
    """`callers`, frozen.

    Raises:
        ConfigError: for what would grant by mistake: a bare string (a collection of letters) and
            an async predicate (its coroutine is always true).
    """
    if callers is None:
        return None
    if callable(callers):
        if inspect.iscoroutinefunction(callers):
            raise ConfigError("callers: the predicate must not be async: it is asked in passing")
        return callers
    if isinstance(callers, str | bytes):
        raise ConfigError(f'callers: one id must stand in a collection: ["{callers!s}"]')
    return frozenset(callers)


def admits(callers: Callers, caller: Caller) -> bool:
    """Whether `caller` may know of the tool. Fails closed: a predicate that raises says no."""
    if callers is None:
        return True
    if not callable(callers):
        return caller.caller_id in callers
    try:
        return callers(caller) is True
    except Exception as exc:  # noqa: BLE001 - the host's code: whatever it raises, the answer is no
        logger.error("a tool's callers predicate raised %s: the tool stays hidden", type(exc))  # noqa: TRY400
        return False


def safe_for(tool: Visibility, agent: Visibility) -> bool:
    """Whether a tool that is safe for audience `tool` may serve an agent with audience `agent`."""
    return WIDTH[tool] >= WIDTH[agent]
