"""Every activity's name, input and output: all that workflows know of activities.

Those of delivery stand in `executus.delivery_contracts`.

Names and shapes are a durable contract: histories hold them. Fields may be added with a default,
never removed or renamed (tests/test_contracts.py pins them).
"""

from typing import Literal

from pydantic import Field, JsonValue

from executus.agent import RunnableAgent
from executus.audit import AuditClose, AuditOpen, AuditReceipt, AuditRow
from executus.budget import BudgetCheck, BudgetCommit
from executus.critic import MAX_STEPS
from executus.data import Data, Record, absent, empty
from executus.delivery_target import DeliveryTarget
from executus.files import DroppedFile, FileRef, FileScope
from executus.message import ImagePart, InputFile, Message, ToolResultPart
from executus.plan import Effect
from executus.steer import MAX_BY, TOOL_STEER
from executus.submit import Submission
from executus.transcript import Cursor
from executus.usage import Usage

RESOLVE = "executus.resolve"
BUDGET_CHECK = "executus.budget.check"
BUDGET_COMMIT = "executus.budget.commit"
AUDIT_START = "executus.audit.start"
AUDIT_CLOSE = "executus.audit.close"
AUDIT_FLUSH = "executus.audit.flush"
RESTORE = "executus.restore"
CHILD_RESULT = "executus.child_result"
ORIGIN = "executus.origin"
CHECKPOINT = "executus.checkpoint"
FILES_STAGE = "executus.files.stage"
MODEL = "executus.model"
COMPACT = "executus.compact"
CRITIC = "executus.critic"
TOOL_PREFIX = "tool."

AGENT_RUN = "executus.AgentRun"
"""Workflow type."""

QUERY_STATE = "state"
QUERY_TRANSCRIPT = "transcript"
QUERY_PLAN = "plan"
QUERY_STEPS = "steps"
QUERY_CARRIED = "carried"
QUERY_FORK_POINT = "fork_point"
QUERY_RESULT = "result"
SIGNAL_CANCEL = "cancel"
SIGNAL_STEER = "steer"
UPDATE_RAISE_LIMITS = "raise_limits"
UPDATE_APPROVE = "approve"
UPDATE_DENY = "deny"
UPDATE_ANSWER = "answer"
UPDATE_STEER = "steer"

PAGE_BYTES = 900_000
"""Transcript bytes in one page: Temporal's own bound on a query's answer is 2 MiB."""

MODEL_ERROR = "executus.model_error"
"""Failure type of the model and compact activities; `details[0]` is a `ModelFailure`."""
BUDGET_DENIED = "executus.budget_denied"
"""Failure type of a model call that the budget refused; `details[0]` is a `BudgetDecision`."""


def tool_activity(name: str) -> str:
    """Activity type of a tool."""
    return f"{TOOL_PREFIX}{name}"


class RunKey(Record):
    """A run's identity, as activities need it."""

    run_id: str
    """Workflow id."""
    workflow_run_id: str
    """Temporal's first execution run id: unchanged by reset and continue-as-new."""


class ResolveInput(Data):
    """Input of `executus.resolve`."""

    agent: RunnableAgent | str
    """By value or by name."""
    caller_id: str
    """Decides what is visible."""
    tenant_id: str = ""
    """Likewise."""
    model_tier: str | None = None
    """In place of the agent's own."""
    files: bool = False
    """Whether files are attached, or its parent or the run it goes on from may speak of some: then
    the run gets a tool to read them, if they are kept."""
    delivery: DeliveryTarget | None = None
    """Refused now if nothing can be delivered there."""


class ModelStepInput(Data):
    """Input of `executus.model`: which transcript, not its content."""

    key: RunKey
    """The run."""
    step_id: str
    """The step."""
    cursor: Cursor
    """The transcript to send."""
    tail: tuple[str, ...] = ()
    """Digests of the newest messages: a worker that made them itself needs no query."""
    inline: tuple[Message, ...] = Field(default=(), exclude_if=empty)
    """Small messages of the tail that the workflow itself wrote (prompt, nudge, steer)."""
    plan_digest: str
    """Which plan."""
    max_output_tokens: int = Field(gt=0)
    """Upper bound of the reply; lower than the plan's where a run limit is near."""
    closing: bool = Field(default=False, exclude_if=empty)
    """The tool-less closing answer."""
    seconds_left: float = Field(gt=0)
    """Until the run's deadline (or the closing slice's end), when the step was scheduled."""
    phase: str = Field(default="", exclude_if=empty)
    """Name of the phase it belongs to."""


class Failover(Data):
    """A target that did not answer, and why."""

    spec: str
    """The target."""
    fault: str
    """`executus.errors.ModelFault`, or `benched`."""
    message: str
    """Scrubbed, at most 500 characters."""
    retry_after: float | None = None
    """Seconds until it may be tried again, when known."""


class ModelStepOutput(Record):
    """Output of `executus.model`."""

    message: Message
    """The reply, cleaned and capped."""
    stop: Literal["end", "tool_calls", "length", "refusal"]
    """Why the model stopped."""
    usage: Usage
    """Tokens."""
    cost_micro_usd: int | None = None
    """Cost; None when the price is not known."""
    spec: str
    """Who really answered."""
    attempt: int = 1
    """Temporal attempt that brought it."""
    failovers: tuple[Failover, ...] = Field(default=(), exclude_if=empty)
    """Who did not answer before."""
    structured: JsonValue = Field(default=None, exclude_if=absent)
    """The validated value in histories of 0.1.0; later ones say `valid`."""
    valid: bool = Field(default=False, exclude_if=empty)
    """Whether the message's text is a value that matches the output schema."""
    invalid: str | None = Field(default=None, exclude_if=absent)
    """Why the answer does not match the output schema."""
    submissions: tuple[Submission, ...] = Field(default=(), exclude_if=empty)
    """The calls of `submit`, when the agent has an output schema."""


class ModelFailure(Data):
    """Why no target answered; detail of a `MODEL_ERROR` failure."""

    fault: str
    """`executus.errors.ModelFault` of the decisive failure."""
    message: str
    """For people, scrubbed."""
    failovers: tuple[Failover, ...] = ()
    """Every target and its reason."""


class CompactInput(Data):
    """Input of `executus.compact`: fold a range of the transcript into a summary."""

    key: RunKey
    """The run."""
    step_id: str
    """The step."""
    cursor: Cursor
    """The transcript."""
    tail: tuple[str, ...] = ()
    """See `ModelStepInput.tail`."""
    inline: tuple[Message, ...] = ()
    """See `ModelStepInput.inline`."""
    plan_digest: str
    """Which plan."""
    start: int = Field(ge=0)
    """First message to fold."""
    end: int = Field(gt=0)
    """One past the last message to fold; an earlier summary in between is folded in."""
    max_output_tokens: int | None = Field(default=None, gt=0, exclude_if=absent)
    """Where the run's own limits leave less than any summary may have."""
    seconds_left: float = Field(gt=0)
    """Until the run's deadline."""
    phase: str = Field(default="", exclude_if=empty)
    """Name of the phase it belongs to."""


class CompactOutput(Data):
    """Output of `executus.compact`."""

    summary: Message
    """Role summary, with its fold set; without text where there is none."""
    usage: Usage
    """Tokens of the summary call."""
    cost_micro_usd: int | None = None
    """Its cost."""
    spec: str = ""
    """Who wrote it."""
    attempt: int = 1
    """Temporal attempt that brought it."""


class RaiseLimits(Data):
    """Argument of the `raise_limits` update: the new limits of a running run."""

    tokens: int | None = Field(default=None, gt=0)
    """New token limit; None leaves it."""
    micro_usd: int | None = Field(default=None, gt=0)
    """New limit in micro-USD; None leaves it."""
    iterations: int | None = Field(default=None, gt=0, le=MAX_STEPS)
    """New max_iterations; None leaves it. Not for a run with phases: their turns are their own."""
    by: str = Field(default="", max_length=MAX_BY)
    """Who raises it; recorded."""


class RunState(Record):
    """What a tool may know of its run."""

    iteration: int
    """Current iteration, from 1."""
    max_iterations: int
    """Limit."""
    tool_calls: int
    """Calls dispatched so far, this step's included."""
    seconds_elapsed: float
    """Since the run started working."""
    seconds_left: float
    """Until its deadline."""
    usage: Usage = Usage()
    """So far."""
    cost_micro_usd: int | None = None
    """So far."""


class ToolInput(Record):
    """Input of `tool.<name>`."""

    key: RunKey
    """The run."""
    step_id: str
    """The step."""
    call_id: str
    """The model's call."""
    arguments: str
    """JSON text."""
    schema_digest: str
    """The tool that was granted."""
    idempotency_key: str
    """The same for every attempt of this call, different for every other call."""
    attempts: int = 1
    """Attempts this call may have."""
    result_bytes: int
    """Cap of the result."""
    source: str = Field(default="", exclude_if=empty)
    """See `ToolDef.source`."""
    effect: Effect = "once"
    """What the plan says that running it again would mean; for a tool with a source."""
    agent_id: str
    """What runs."""
    caller_id: str
    """Who asks."""
    tenant_id: str = Field(default="", exclude_if=empty)
    """Their organisation."""
    channel_id: str = Field(default="", exclude_if=empty)
    """Where it was asked."""
    state: RunState
    """The run, when the call was dispatched."""
    files_root: str = Field(default="", exclude_if=empty)
    """The run whose files this one shares: its own, or the one at the top of its family. Empty: the
    run has no file store."""
    files_also: tuple[str, ...] = Field(default=(), exclude_if=empty)
    """Runs that it was forked from: their files can be read, too."""
    phase: str = Field(default="", exclude_if=empty)
    """Name of the phase it belongs to."""


class ToolOutput(Data):
    """Output of `tool.<name>`."""

    result: ToolResultPart
    """Cleaned and capped."""
    summary: str = ""
    """One redacted line about the result."""
    attempt: int = 1
    """Temporal attempt that brought it."""
    steer: tuple[str, ...] = Field(default=(), max_length=TOOL_STEER, exclude_if=empty)
    """What the tool has to say to the agent besides."""
    images: tuple[ImagePart, ...] = Field(default=(), exclude_if=empty)
    """What the tool wants the model to see: a user message after the results of this turn."""
    files: tuple[FileRef, ...] = Field(default=(), exclude_if=empty)
    """What the tool put into the file store."""


class StageInput(Data):
    """Input of `executus.files.stage`: bring attached files into the run's store."""

    scope: FileScope
    """Whose they are."""
    files: tuple[InputFile | FileRef, ...]
    """By value, or put there by the client before the run started."""
    attempts: int = Field(default=3, gt=0)
    """Attempts there are: on the last one, what cannot be kept is dropped."""


class StageOutput(Data):
    """Output of `executus.files.stage`."""

    kept: tuple[FileRef, ...] = ()
    """In the order they came; names differ."""
    dropped: tuple[DroppedFile, ...] = ()
    """The rest."""


class BudgetCheckInput(Data):
    """Input of `executus.budget.check`."""

    check: BudgetCheck
    """The reservation."""


class BudgetCommitInput(Data):
    """Input of `executus.budget.commit`."""

    commit: BudgetCommit
    """The settlement."""


class AuditCloseInput(Data):
    """Input of `executus.audit.close`."""

    close: AuditClose
    """The outcome."""
    events: tuple[AuditRow, ...] = ()
    """Events of the run, in order."""
    row_keys: int = 0
    """How many step rows the record must hold. When some are missing, the activity asks the
    workflow for its steps and writes them."""


class AuditClosed(Data):
    """Output of `executus.audit.close`."""

    receipt: AuditReceipt | None = None
    """None: no audit is wired."""


class AuditFlushInput(Data):
    """Input of `executus.audit.flush`: write what the record lacks, before continue-as-new."""

    opening: AuditOpen
    """The record's head, in case the opening never landed."""
    events: tuple[AuditRow, ...] = ()
    """Events of this execution."""
    row_keys: int = 0
    """How many step rows the record must hold."""


class RestoreInput(Data):
    """Input of `executus.restore`: read what an earlier execution could not carry."""

    execution: str
    """Temporal run id of the earlier execution."""
    start: int = Field(ge=0)
    """First message to read."""


class StepsPage(Data):
    """Answer of the `steps` query: what a close needs to write missing rows."""

    rows: tuple[AuditRow, ...]
    """One per accepted step attempt from `start` on; at most about 1 MB."""
    start: int
    """Index of the first one."""
    total: int
    """Rows in all."""
