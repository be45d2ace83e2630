"""Declared: an agent as somebody wrote it, before what it extends is known."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from executus.agent import RunnableAgent

IN_CODE = "(code)"
"""Source of an agent that was declared in Python."""
EXTENDS = "extends"
"""The one field of a file that RunnableAgent does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The fields of one agent, unchecked but for the three here."""

    name: str
    """What others extend, and what it is started by."""
    source: str
    """Its file, or `IN_CODE`."""
    extends: str | None = None
    """Name of the agent whose fields hold where this one says nothing."""
    fields: Mapping[str, object] = field(default_factory=dict[str, object])
    """What it says itself, the name included."""

    @classmethod
    def in_code(cls, agent: RunnableAgent) -> "Declared":
        """An agent of Python, with the fields that were given."""
        fields = agent.model_dump(exclude_unset=True)
        return cls(name=agent.name, source=IN_CODE, fields=fields)
