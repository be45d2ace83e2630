"""Palette: the agents that an agent may hand work to, and where they are looked up."""

from collections.abc import Mapping

from executus.agent import RunnableAgent
from executus.data import Data


class PaletteAsk(Data):
    """Who looks for an agent."""

    caller_id: str
    """On whose behalf."""
    tenant_id: str = ""
    """Their organisation."""
    agent_id: str
    """The agent that would hand work over."""


class RegisteredAgents:
    """The shipped palette: the agents of the worker itself, the same for every caller."""

    def __init__(self, agents: Mapping[str, RunnableAgent]) -> None:
        self._agents = agents

    async def find(self, name: str, ask: PaletteAsk) -> RunnableAgent | None:
        """The agent of that name; None when there is none."""
        del ask
        return self._agents.get(name)

    async def names(self, ask: PaletteAsk) -> tuple[str, ...]:
        """Every name that would be found."""
        del ask
        return tuple(sorted(self._agents))
