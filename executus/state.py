"""LiveState: what the `state` query answers while a run goes on, and after."""

from datetime import datetime
from typing import Literal

from executus.data import Data
from executus.files import FileRef
from executus.question import Question
from executus.step import StepRecord
from executus.usage import Usage

Stage = Literal["starting", "running", "paused", "closing", "closed"]
"""starting: resolving, reserving. running: the loop. paused: until somebody approves,
answers or raises a limit. closing: outcome fixed, cleanup runs."""

STATE_STEPS = 200
"""Steps listed in a state: the newest ones."""


class LiveState(Data):
    """A run at one moment. Cheap to ask for: no history event, a few milliseconds."""

    run_id: str
    """The run."""
    agent: str
    """Its agent's name."""
    stage: Stage
    """Where it is."""
    status: str = "running"
    """`running`, then the outcome's status."""
    reason: str = ""
    """The outcome's reason, once it is fixed."""
    iteration: int = 0
    """Current model turn, from 1."""
    max_iterations: int = 0
    """Limit, of the present phase where there are any; 0 until the plan is there."""
    phase: str = ""
    """The present phase; empty when the agent has none."""
    phase_number: int = 0
    """Its place, from 1."""
    phases_total: int = 0
    """Phases of the agent."""
    started_at: datetime
    """When it started working (UTC)."""
    deadline_at: datetime | None = None
    """When its time is up (UTC); None until the plan is there."""
    steps: tuple[StepRecord, ...] = ()
    """The newest steps, in order."""
    steps_total: int = 0
    """All of them."""
    usage: Usage = Usage()
    """So far."""
    cost_micro_usd: int | None = None
    """So far; None when a price is not known."""
    transcript_messages: int = 0
    """Messages in the transcript."""
    waiting: str | None = None
    """What a paused run waits for."""
    questions: tuple[Question, ...] = ()
    """What people are asked: `executus approve`, `deny` and `answer` settle them."""
    tokens_limit: int | None = None
    """Limit on tokens, as it is now; None = none."""
    micro_usd_limit: int | None = None
    """Limit on micro-USD, as it is now; None = none."""
    files: tuple[FileRef, ...] = ()
    """What tools put into the file store."""
    warnings: tuple[str, ...] = ()
    """What went wrong without stopping it, such as a file that was dropped."""
    stop: str | None = None
    """Why it was asked to stop, if it was."""
    active_at: datetime | None = None
    """When something last happened in it (UTC): a step began or ended, somebody did something."""
    critic: str = ""
    """Kind of the critic that watches it; empty = none."""
    extensions: int = 0
    """Extensions that its critic has given."""
