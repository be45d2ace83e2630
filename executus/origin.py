"""Origin: the run whose conversation another run goes on from (a fork)."""

from pydantic import Field

from executus.data import Data
from executus.message import Message
from executus.steer import MAX_BY

STEP_PATTERN = r"^m[0-9]+(\.[A-Za-z0-9.]+)?$"


class Origin(Data):
    """Which run, and up to where.

    The fork is a run of its own: its own id, budget, limits and record. It reads the conversation
    when it starts; the run it comes from is never touched.
    """

    run_id: str = Field(min_length=1, max_length=255)
    """The run to go on from: running, failed, cancelled or done; of the same caller."""
    step_id: str | None = Field(default=None, max_length=64, pattern=STEP_PATTERN)
    """Everything up to and including the iteration of this step (`m3`, `m3.t2`). None: all of it.
    A final answer is left out when nothing new is asked, so that the model answers again."""
    by: str = Field(default="", max_length=MAX_BY)
    """Who forks it, when that is not the caller; recorded."""


class ForkAsk(Data):
    """Argument of the query `fork_point`."""

    step_id: str | None = None
    """See `Origin.step_id`."""
    drop_answer: bool = False
    """Leave out a final answer."""


class ForkPoint(Data):
    """Where a conversation can be taken up; answer of the query `fork_point`."""

    end: int = Field(default=0, ge=0)
    """One past the last message."""
    caller_id: str = ""
    """Whose run it is."""
    tenant_id: str = ""
    """Their organisation."""
    files_roots: tuple[str, ...] = ()
    """Runs whose files it can read."""
    earlier: str | None = None
    """The step is of an earlier execution: Temporal's run id of the one before."""
    problem: str | None = None
    """Why it cannot be taken up there."""


class OriginPage(Data):
    """A page of the conversation that a fork goes on from."""

    source: str
    """Temporal run id of the execution that was read, or `checkpoint`."""
    messages: tuple[Message, ...]
    """From where it was asked on; about 900 KB at most."""
    total: int = Field(ge=0)
    """Messages in all."""
    files_roots: tuple[str, ...] = ()
    """Runs whose files the conversation may speak of."""


class OriginInput(Data):
    """Input of `executus.origin`: read the conversation that a fork goes on from."""

    origin: Origin
    """Which run, and up to where."""
    caller_id: str
    """Who forks: it must be their own run."""
    tenant_id: str = ""
    """Likewise."""
    drop_answer: bool = False
    """Leave out a final answer: nothing new is asked."""
    source: str = ""
    """As the first page told; empty for that."""
    start: int = Field(default=0, ge=0)
    """First message to read."""
    total: int = Field(default=0, ge=0)
    """As the first page told: what a running run adds since does not count."""
