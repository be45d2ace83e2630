"""Checkpoint: a run's consistent state, exported to the host.

Temporal's history is what a run recovers from; this copy is for the host: to look at, and to fork
from when the history is gone.
"""

from datetime import datetime

from pydantic import Field

from executus.contracts import RunKey
from executus.data import Data
from executus.message import Message
from executus.transcript import Cursor
from executus.usage import Usage


class Checkpoint(Data):
    """State between two iterations: no step under way, every call answered."""

    run_id: str
    """The run."""
    workflow_run_id: str
    """Temporal's first execution run id."""
    caller_id: str
    """Who asked."""
    tenant_id: str = ""
    """Their organisation."""
    agent_id: str
    """What runs."""
    status: str
    """`running`, or the outcome's status."""
    iteration: int = Field(ge=0)
    """Model turns so far."""
    steps_total: int = Field(ge=0)
    """Steps so far."""
    usage: Usage = Usage()
    """So far."""
    cost_micro_usd: int | None = None
    """So far."""
    at: datetime
    """Workflow time (UTC)."""
    files_roots: tuple[str, ...] = ()
    """Runs whose files the conversation may speak of."""
    messages: tuple[Message, ...] = ()
    """The conversation: for a run of several executions, what the newest was handed, and since."""


class CheckpointInput(Data):
    """Input of `executus.checkpoint`: which conversation, not its content."""

    key: RunKey
    """The run."""
    cursor: Cursor
    """The conversation to keep."""
    tail: tuple[str, ...] = ()
    """See `ModelStepInput.tail`."""
    inline: tuple[Message, ...] = ()
    """See `ModelStepInput.inline`."""
    checkpoint: Checkpoint
    """The rest, without messages."""
