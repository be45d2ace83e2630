"""Ending: how the loop stopped, before cleanup."""

from dataclasses import dataclass

from pydantic import JsonValue

from executus.status import Reason, Status


@dataclass(frozen=True, slots=True)
class Ending:
    """A fixed outcome."""

    status: Status
    """Outcome class."""
    reason: Reason
    """Which way."""
    output: str = ""
    """Answer, or the best partial one."""
    structured: JsonValue = None
    """Validated value, when there is an output schema."""
    error: str | None = None
    """One sentence for people; None when ok."""
