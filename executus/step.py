"""StepRecord: the unit of work that a person sees."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from executus.data import Record, empty
from executus.usage import Usage

StepStatus = Literal["running", "complete", "error", "unknown"]
"""unknown: the attempt was lost and its effect is not known."""

MAX_SUMMARY = 200
"""Characters of a step's summary."""


class StepRecord(Record):
    """A turn, tool call, compaction or critic's look: live in `state`, whole in the result."""

    id: str
    """Unique in the run: `m3` is the third model turn, `m3.t2` its second tool call."""
    kind: str
    """`model`, `compact`, `critic` or `tool.<name>`."""
    iteration: int = Field(ge=0)
    """The iteration it belongs to, from 1."""
    phase: str = Field(default="", exclude_if=empty)
    """The phase it belongs to; empty when the agent has none."""
    summary: str = Field(default="", max_length=MAX_SUMMARY)
    """One redacted line for people."""
    status: StepStatus = "running"
    """Where it stands."""
    started_at: datetime
    """Workflow time of dispatch (UTC)."""
    ended_at: datetime | None = None
    """Workflow time of the outcome (UTC); None while it runs."""
    usage: Usage | None = None
    """Tokens, for steps that called a model."""
    cost_micro_usd: int | None = None
    """Cost in micro-USD, for steps that called a model with a known price."""
    child_run_id: str = ""
    """The child run, for steps that are one."""
    model: str = ""
    """The spec that really answered (`provider/model`), for steps that called a model."""
