"""Progress: how far a run is in its phases. What is seen of it, and what is handed over."""

from dataclasses import dataclass, field
from datetime import datetime

from executus.plan import RunPlan


@dataclass(slots=True)
class Progress:
    """Plain values; a run without phases leaves them as they are."""

    index: int = 0
    """The present phase, from 0."""
    opened: bool = False
    """Whether it has begun."""
    began: int = 0
    """Model turns of the run before it."""
    deadline_at: datetime | None = None
    """When its own time is up (UTC); None: the run's deadline rules."""
    outputs: list[str] = field(default_factory=list[str])
    """Of the phases before it, in order, each within its share."""
    plan: RunPlan | None = None
    """The present phase's own plan."""
    digest: str = ""
    """Names that plan to the activities."""
