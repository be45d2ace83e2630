"""What the audit records."""

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from executus.data import Data, Record, empty
from executus.status import Reason, Status
from executus.usage import Usage

RowKind = Literal["model", "tool", "compact", "critic", "event", "reset"]
"""reset: Temporal began another execution of the run from the middle of an earlier one."""
ClosedBy = Literal["run", "sweeper"]


def in_execution(key: str, execution: str) -> str:
    """`key`, of an entry that the execution `execution` made (empty: the run's first one).

    After `temporal workflow reset` the same step is made again, by an execution with another id:
    both stay. So the key says by which, where it is not the first.
    """
    return f"{key}@{execution}" if execution else key


def execution_of(key: str) -> str:
    """The execution that made an entry; empty: the run's first one."""
    return key.partition("@")[2]


def step_of(key: str) -> str:
    """The step that a row is of; empty: it is of none."""
    step, mark, _ = key.partition("@")[0].rpartition("#")
    return step if mark else ""


class ToolGrant(Data):
    """A tool that the run may call."""

    name: str
    """The tool."""
    digest: str
    """Digest of its schema when the run started."""
    effect: str
    """pure, idempotent or once."""


class AuditOpen(Data):
    """Opening of a run's record; an upsert."""

    run_id: str
    """The run."""
    workflow_run_id: str
    """Temporal's first execution run id: tells a reset or a reused id apart."""
    parent_run_id: str | None = None
    """The run that started it."""
    agent_id: str
    """What runs."""
    agent_name: str
    """The same, for people."""
    caller_id: str
    """Who asked."""
    tenant_id: str = ""
    """Their organisation."""
    channel_id: str = ""
    """Where."""
    prompt: str = ""
    """What was asked; subject to redaction."""
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    """Named values; subject to redaction."""
    models: tuple[str, ...] = ()
    """Specs of the chain."""
    prices: dict[str, JsonValue] = Field(default_factory=dict)
    """Spec -> price per million tokens and its version."""
    tools: tuple[ToolGrant, ...] = ()
    """The grant."""
    phases: tuple[str, ...] = ()
    """Names of the agent's phases, in order."""
    started_at: datetime
    """Workflow time (UTC)."""
    deadline_at: datetime | None = None
    """When the run must have ended, cleanup included: from then on the sweeper asks."""


class AuditRow(Record):
    """One row of a run's chain: append-only, idempotent by (run_id, key)."""

    key: str = Field(max_length=128)
    """Unique in the run: `m3#1` is the first attempt of step m3; `e7` the seventh event. What an
    execution that is not the run's first one did says so: `m3#1@<its id>`."""
    kind: RowKind
    """What it records."""
    name: str
    """The tool, the model spec that answered, or the event type."""
    status: str
    """complete, error, unknown; for events empty."""
    at: datetime
    """When (UTC): the end of a step, the moment of an event."""
    seconds: float | None = None
    """How long the attempt took."""
    summary: str = Field(default="", max_length=200)
    """One redacted line."""
    content: dict[str, JsonValue] = Field(default_factory=dict)
    """Arguments, result, reply: subject to redaction; digest and length are always kept."""
    usage: Usage | None = None
    """Tokens of a model call."""
    cost_micro_usd: int | None = None
    """Cost of a model call."""
    resets_since: int = Field(default=0, ge=0, exclude_if=empty)
    """Resets that lie behind it in the history of the workflow that tells of it. Whoever writes it
    down makes of that the execution in its key; it is not stored itself."""
    across: bool = Field(default=False, exclude_if=empty)
    """A reset lay between the step's beginning and its end: who made it, its own row knows."""


class AuditClose(Data):
    """Closing of a run's record; an upsert, so it can create the record too."""

    opening: AuditOpen
    """The record's head, in case the opening never landed."""
    status: Status
    """Outcome."""
    reason: Reason
    """Which way."""
    output: str = ""
    """The answer or partial answer; subject to redaction."""
    error: str | None = None
    """One sentence."""
    iterations: int = 0
    """Model turns."""
    steps: int = 0
    """Steps in all."""
    usage: Usage = Usage()
    """Sum."""
    cost_micro_usd: int | None = None
    """Sum."""
    ended_at: datetime
    """When the outcome was fixed (UTC)."""
    closed_by: ClosedBy = "run"
    """Who closed it."""
    execution: str = ""
    """The execution that ended so; empty: the run's first one."""


class AuditReceipt(Data):
    """What a close answers."""

    head: str
    """Head of the hash chain over the opening, every row and the close."""
    rows: int
    """Rows in the chain."""


EntryType = Literal["open", "row", "close", "reset"]
"""open: the opening. row: an `AuditRow`. close: the outcome, of each execution that came to one.
reset: a row of that kind. Each run has one chain of them."""


class AuditEntry(Data):
    """One link of a run's chain, as it is stored."""

    run_id: str
    """The run."""
    seq: int = Field(ge=0)
    """Place in the chain, from 0, without a gap."""
    entry: EntryType
    """What it is."""
    key: str
    """Unique among the run's entries of one type."""
    kind: str
    """`RowKind` of a row, else empty."""
    name: str
    """The row's name, the agent's name, or the outcome's reason."""
    status: str
    """The row's or the outcome's status."""
    at: datetime
    """When (UTC)."""
    body: dict[str, JsonValue]
    """The rest: redacted values, each with its length and digest."""
    hash: str
    """SHA-256 over the previous hash and everything above, 64 hex digits."""
    late: bool = False
    """It came after the close: from an attempt that outlived its run."""
    superseded_at: datetime | None = None
    """When a reset put something else in its place (UTC); None: it counts. It happened all the
    same: it was paid for, and what a tool did is done."""

    @property
    def execution(self) -> str:
        """Temporal's id of the execution that did it; empty: the run's first one."""
        return execution_of(self.key)


class AuditRun(Data):
    """One run's record, without its rows."""

    run_id: str
    """The run."""
    workflow_run_id: str
    """Temporal's first execution run id; empty while no opening landed."""
    parent_run_id: str | None
    """The run that started it."""
    agent_id: str
    """What ran."""
    agent_name: str
    """The same, for people."""
    caller_id: str
    """Who asked."""
    tenant_id: str
    """Their organisation."""
    channel_id: str
    """Where."""
    started_at: datetime
    """Workflow time of the start; of the first row while no opening landed."""
    deadline_at: datetime | None
    """From then on the sweeper asks."""
    status: Status | None
    """Outcome; None while it is open."""
    reason: Reason | None
    """Which way; None while it is open."""
    closed_by: ClosedBy | None
    """Who closed it; None while it is open."""
    ended_at: datetime | None
    """When the outcome was fixed; None while it is open."""
    cost_micro_usd: int | None
    """Cost as closed; None while open, or when a price was not known."""
    n_close: int
    """1 when it is closed. A reset opens it again: 0 until the new execution has an outcome."""
    entries: int
    """Length of the chain, late entries included."""
    head: str
    """Hash of the chain's last entry."""
    closed_head: str | None
    """Hash of the close that counts: what `RunResult.audit_head` shows. None while it is open."""
    closed_entries: int | None
    """Length of the chain up to the close. None while it is open."""


class AuditPurged(Data):
    """What retention left of a run: no content, but the head that its result may still show."""

    run_id: str
    """The run."""
    purged_at: datetime
    """When its record was removed (UTC)."""
    ended_at: datetime
    """When its outcome was fixed."""
    head: str
    """Hash of its close: what `RunResult.audit_head` shows."""
    entries: int
    """How long its chain was."""


class AuditBreak(Data):
    """The first place where a run's record does not hold together."""

    run_id: str
    """The run."""
    seq: int | None
    """Place in the chain; None when the run's own row is what does not fit."""
    what: str
    """What is wrong, in words."""


class AuditProof(Data):
    """Outcome of a verification."""

    runs: int
    """Runs looked at."""
    entries: int
    """Entries looked at."""
    breaks: tuple[AuditBreak, ...] = ()
    """The first broken place of every run that does not verify."""

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.breaks
