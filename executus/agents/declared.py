"""Declared: an agent as somebody wrote it, before what it extends is known."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ValidationError

from executus.agent import RunnableAgent
from executus.sanitize import clean_line

IN_CODE = "(code)"
"""Source of an agent that was declared in Python."""
EXTENDS = "extends"
"""The one field of a file that RunnableAgent does not have."""
MAX_SHOWN = 200
"""Characters of one problem."""


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


def explain(error: ValidationError, model: type[BaseModel], *more: str) -> str:
    """A validation error as one line: every field with what is wrong with it.

    `more`: fields that are known besides the model's own.
    """
    parts: list[str] = []
    unknown = False
    for item in error.errors(include_url=False):
        name = clean_line(".".join(str(part) for part in item["loc"]), MAX_SHOWN)
        extra = item["type"] == "extra_forbidden"
        unknown = unknown or (extra and len(item["loc"]) == 1)
        what = "unknown field" if extra else clean_line(item["msg"], MAX_SHOWN)
        parts.append(f"`{name}`: {what}" if name else what)
    if unknown:
        parts.append(f"known fields: {', '.join(sorted([*model.model_fields, *more]))}")
    return "; ".join(parts)
