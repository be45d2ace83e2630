"""What the budget is asked and what it answers.

Three currencies, all integers but the first: runtime seconds, tokens, micro-USD.
"""

from datetime import datetime

from pydantic import Field

from executus.data import Data


class BudgetCheck(Data):
    """Reserve for a run before anything paid happens.

    Idempotent by run_id; other parameters under the same id are an error.
    """

    run_id: str
    """The reservation's id."""
    workflow_run_id: str
    """Temporal's first execution run id."""
    caller_id: str
    """Scope."""
    tenant_id: str = ""
    """Scope; empty = none."""
    agent_id: str
    """Scope."""
    parent_run_id: str | None = None
    """A child draws from this run's hold."""
    seconds: float = Field(ge=0, allow_inf_nan=False)
    """Runtime to reserve: the run's max_runtime."""
    tokens: int = Field(default=0, ge=0)
    """Tokens to reserve now; steps extend the hold."""
    micro_usd: int = Field(default=0, ge=0)
    """Micro-USD to reserve now; steps extend the hold."""
    expires_at: datetime
    """When a hold whose run died may be looked at by the sweeper (UTC)."""


class BudgetCall(Data):
    """One attempt at a paid call, authorised and recorded before it is made.

    Idempotent by (run_id, step_id, attempt).
    """

    run_id: str
    """The reservation."""
    step_id: str
    """The step."""
    attempt: int = Field(ge=1)
    """Attempt of the step, from 1; each provider call has its own."""
    tokens: int = Field(ge=0)
    """Worst case of this call."""
    micro_usd: int | None = Field(default=None, ge=0)
    """Worst case of this call; None when the price is not known."""
    input_tokens: int = Field(default=0, ge=0)
    """Estimated input of this call: charged when a call is lost before its reply began."""
    input_micro_usd: int | None = Field(default=None, ge=0)
    """The same in money."""


class BudgetMeter(Data):
    """What an authorised call really took. Idempotent by (run_id, step_id, attempt)."""

    run_id: str
    """The reservation."""
    step_id: str
    """The step."""
    attempt: int = Field(ge=1)
    """As authorised."""
    tokens: int = Field(ge=0)
    """Input plus output."""
    micro_usd: int | None = Field(default=None, ge=0)
    """Cost; None when the price is not known."""


class BudgetDecision(Data):
    """Yes, or no and why."""

    admitted: bool
    """Whether it may go on."""
    message: str = ""
    """One sentence when it may not: scope, window, cap, what is used."""
    retry_after: float | None = None
    """Seconds after which trying again may help; None when waiting does not help."""


class BudgetCommit(Data):
    """Settle a run. Idempotent by run_id, into the window it was reserved in."""

    run_id: str
    """The reservation."""
    seconds: float = Field(ge=0, allow_inf_nan=False)
    """Runtime used."""


class BudgetReceipt(Data):
    """What was settled."""

    seconds: float = 0.0
    """Runtime."""
    tokens: int = 0
    """Metered, and lost attempts at their estimate."""
    micro_usd: int = 0
    """Metered, and lost attempts at their estimate."""
    lost_attempts: int = 0
    """Attempts that started and were never metered (a killed worker)."""
