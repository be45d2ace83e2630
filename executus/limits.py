"""Bounds: what an agent may set for its runs, and what holds when it does not."""

from typing import Literal

from pydantic import Field

from executus.data import Data

AtLimit = Literal["stop", "wrap_up", "ask"]
"""stop: end with what there is. wrap_up: keep room for one last answer without tools. ask: pause
until somebody raises the limit (update `raise_limits`); the deadline still rules."""


class Limits(Data):
    """Bounds of one run. None takes the host's default; 0 switches a guard off where it says so."""

    tokens: int | None = Field(default=None, gt=0)
    """Input plus output tokens of the whole run, checked before each model call."""
    micro_usd: int | None = Field(default=None, gt=0)
    """Cost of the whole run in micro-USD (1 USD = 1,000,000), checked before each model call
    against that call's worst case. With it set, a model without a known price is refused."""
    at_limit: AtLimit | None = None
    """What happens where the next call could pass the tokens or micro-USD above."""
    max_output_tokens: int | None = Field(default=None, gt=0, le=1_000_000)
    """Tokens that one model call may produce."""
    tool_errors: int | None = Field(default=None, ge=0, le=1_000)
    """Steps in a row in which every call failed, before the run stops. 0 = off."""
    same_tool_calls: int | None = Field(default=None, ge=0, le=1_000)
    """Identical calls with identical results, before the run stops. 0 = off."""
    compaction_ratio: float | None = Field(default=None, ge=0, le=1)
    """Share of the context window at which old messages are folded into a summary. 0 = off."""
    parallel_tools: int | None = Field(default=None, gt=0, le=64)
    """Tool calls of one step that run at the same time."""
    tool_calls: int | None = Field(default=None, gt=0, le=1_000)
    """Tool calls that one model turn may ask for; those beyond are answered with an error."""
    tool_result_bytes: int | None = Field(default=None, ge=256, le=524_288)
    """Bytes of one tool result that enter the transcript: head, tail and a digest of the rest."""
    output_repairs: int | None = Field(default=None, ge=0, le=20)
    """Times that an answer which misses the `output_schema` goes back to the model."""
    model_call_seconds: float | None = Field(default=None, gt=0, le=86_400)
    """Seconds one attempt of a model call may take."""
    approval_seconds: float | None = Field(default=None, gt=0, le=31_536_000)
    """Seconds a person has to approve or answer; silence is a no. The deadline rules over it."""
    delegation_depth: int | None = Field(default=None, ge=0, le=16)
    """Levels of child runs below this one; what stands above may allow less."""
    descendants: int | None = Field(default=None, ge=0, le=10_000)
    """Child runs below this one, all levels together; what stands above may allow less."""


class Defaults(Data):
    """What holds where an agent says nothing. The first six are the seed system's own numbers."""

    max_iterations: int = Field(default=12, gt=0, le=100_000)
    """Model turns, the answering one included."""
    max_runtime: float = Field(default=60.0, gt=0, le=31_536_000)
    """Seconds from the moment the run starts working."""
    model_tier: str = Field(default="fast", min_length=1)
    """Tier or model spec."""
    tool_errors: int = Field(default=3, ge=0)
    """See `Limits.tool_errors`."""
    same_tool_calls: int = Field(default=3, ge=0)
    """See `Limits.same_tool_calls`."""
    compaction_ratio: float = Field(default=0.7, ge=0, le=1)
    """See `Limits.compaction_ratio`."""
    summary_tier: str | None = "fast"
    """Tier that writes compaction summaries. None, or a tier the host has not configured, means the
    run's own."""
    tokens: int | None = Field(default=None, gt=0)
    """See `Limits.tokens`; None = no limit."""
    micro_usd: int | None = Field(default=None, gt=0)
    """See `Limits.micro_usd`; None = no limit."""
    at_limit: AtLimit = "stop"
    """See `Limits.at_limit`."""
    max_output_tokens: int = Field(default=8_192, gt=0)
    """See `Limits.max_output_tokens`."""
    parallel_tools: int = Field(default=8, gt=0, le=64)
    """See `Limits.parallel_tools`."""
    tool_calls: int = Field(default=64, gt=0, le=1_000)
    """See `Limits.tool_calls`."""
    tool_result_bytes: int = Field(default=65_536, ge=256, le=524_288)
    """See `Limits.tool_result_bytes`."""
    output_repairs: int = Field(default=2, ge=0, le=20)
    """See `Limits.output_repairs`."""
    model_call_seconds: float = Field(default=300.0, gt=0)
    """See `Limits.model_call_seconds`."""
    approval_seconds: float = Field(default=3_600.0, gt=0)
    """See `Limits.approval_seconds`."""
    delegation_depth: int = Field(default=4, ge=0, le=16)
    """See `Limits.delegation_depth`."""
    descendants: int = Field(default=64, ge=0, le=10_000)
    """See `Limits.descendants`."""
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    """Seconds between two copies of a run for its host (port `Checkpointer`); 0 = after each
    iteration. The last one is kept in every ending."""
    closing_seconds: float = Field(default=30.0, gt=0)
    """The slice for the tool-less closing answer at the iteration limit."""
    history_events: int | None = Field(default=None, ge=50, le=40_000)
    """Events after which a run continues as a new execution; None = when Temporal suggests it
    (about 4,100 events or 4 MB)."""
    heartbeat_seconds: float = Field(default=15.0, ge=1)
    """A worker silent for so long is taken for dead, and its step is given to another."""
    cleanup_seconds: float = Field(default=120.0, gt=0)
    """Time budget of commit and audit close: long enough to outlast a database restart."""
    delivery_seconds: float = Field(default=60.0, ge=1, le=86_400)
    """Time budget of a delivery, its retries included. The run closes after it, so that its record
    holds the receipt; what did not land by then is kept as a dead letter."""
