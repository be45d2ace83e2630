"""Steer: what is said to a running agent, and what becomes of it."""

from datetime import datetime

from pydantic import Field

from executus.data import Data

MAX_BY = 255
"""Characters of who says, decides, raises or forks something."""
MAX_STEER = 100
"""Messages that may wait in a run."""
MAX_STEER_BYTES = 20_000
"""Bytes of one message; of a longer one, head and tail are kept."""
TOOL_STEER, TOOL_STEER_BYTES = 4, 4_096
"""Messages that one tool call may send, and bytes of each: they travel with its result."""
CALLER, CRITIC = "caller", "critic"
"""Who speaks, when it is no tool."""


class SteerRequest(Data):
    """Argument of the `steer` update."""

    text: str
    """What to say: a user message before the next model call."""
    by: str = Field(default="", max_length=MAX_BY)
    """Who says it; recorded."""


class SteerReceipt(Data):
    """Answer of the `steer` update, given when the message was delivered or never will be."""

    delivered: bool
    """Whether a model call has it, or the next one will."""
    iteration: int | None = None
    """The model turn that hears it first."""
    at: datetime | None = None
    """Workflow time of delivery (UTC)."""
    why: str = ""
    """Why it was not delivered, or not again."""
