"""Carry: what one execution of a run hands to the next (continue-as-new).

A run may be a chain of Temporal executions. To everybody outside it stays one run: same id, same
deadline, same steps, spend, guards and audit chain.
"""

from datetime import datetime

from pydantic import Field

from executus.audit import AuditRow
from executus.critic import CriticState
from executus.data import Data, absent, empty
from executus.files import FileRef
from executus.message import Message
from executus.plan import RunPlan
from executus.request import RunRequest
from executus.step import StepRecord
from executus.usage import Usage

MAX_CARRY_BYTES = 950_000
"""JSON bytes of a carry. Temporal hangs a run whose arguments pass 2 MiB."""
MAX_CARRIED_STEPS = 1_000
STEPS_BYTES = 200_000
"""JSON bytes of the newest steps that are carried; older ones are in the audit."""


class Carry(Data):
    """State at a consistent point: no step is under way, every call is answered."""

    request: RunRequest
    """Who asks; without prompt and agent, which stand in the transcript and the plan."""
    plan: RunPlan
    """As frozen when the run began."""
    started_at: datetime
    """When the run began working."""
    deadline_at: datetime
    """When its time is up."""
    idle_seconds: float = Field(default=0.0, exclude_if=empty)
    """Of the time since it began: what resets skipped."""
    resumed_at: datetime | None = Field(default=None, exclude_if=absent)
    """When the last reset was taken up, if there was one."""
    tokens_limit: int | None = None
    """As it is now: it may have been raised."""
    micro_usd_limit: int | None = None
    """As it is now."""
    iterations_limit: int = 0
    """As it is now; 0 = as the plan says."""
    reserved: bool = False
    """Whether a budget reservation may be held."""
    iteration: int
    """Model turns so far."""
    usage: Usage
    """So far."""
    cost_micro_usd: int | None
    """So far."""
    tool_calls: int
    """So far."""
    saved_at: datetime | None = None
    """When the host was last given a copy."""
    descendants: int = 0
    """Child runs so far, all levels together."""
    descendants_left: int = 0
    """Child runs that may still be started."""
    events_total: int
    """Events so far: the next one's key follows."""
    events: tuple[AuditRow, ...] = Field(default=(), exclude_if=empty)
    """The newest ones, where the audit has not been told of them."""
    steps: tuple[StepRecord, ...]
    """The newest ones."""
    steps_total: int
    """All of them."""
    steer: tuple[str, ...] = ()
    """Messages that wait to be delivered: those of an older version only."""
    steer_ids: tuple[str, ...] = ()
    """Ids of messages that were delivered: sent again, they are not said again."""
    files: tuple[FileRef, ...] = ()
    """What tools put so far."""
    files_also: tuple[str, ...] = ()
    """Runs it was forked from, whose files it can read."""
    warnings: tuple[str, ...] = ()
    """So far."""
    critic: CriticState | None = None
    """What the run's watch remembers."""
    guard_errors: int = 0
    """All-error steps in a row."""
    guard_streaks: dict[str, int] = Field(default_factory=dict)
    """See `executus.workflows.guards.Guards.streaks`."""
    guard_known: tuple[str, ...] = ()
    """See `executus.workflows.guards.Guards.known`."""
    folds: int = 0
    """Compactions so far."""
    compact_from: int = 0
    """Tokens from which on compaction is tried again."""
    blanks: int = 0
    """Empty or cut replies in a row."""
    repairs: int = 0
    """Answers sent back for not matching the schema."""
    phase_index: int = 0
    """The present phase, from 0."""
    phase_opened: bool = False
    """Whether it has begun."""
    phase_began: int = 0
    """Model turns of the run before it."""
    phase_deadline_at: datetime | None = None
    """When its own time is up."""
    phase_outputs: tuple[str, ...] = ()
    """Of the phases before it."""
    messages: tuple[Message, ...] | None = None
    """What the model is shown. None: too large to carry, read it from `from_execution`."""
    message_count: int = 0
    """Messages shown, carried here or not."""
    from_execution: str = ""
    """Temporal run id of the execution that hands over."""
