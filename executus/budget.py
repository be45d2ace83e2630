"""What the budget is asked and what it answers.

Three currencies, all integers but the first: runtime seconds, tokens, micro-USD.
"""

from datetime import datetime
from typing import Literal

from pydantic import Field

from executus.data import Data, absent, empty

Currency = Literal["seconds", "tokens", "micro_usd"]
"""seconds: runtime. tokens: input plus output. micro_usd: millionths of a US dollar."""

Window = Literal["run", "day", "7d", "month", "total"]
"""run: one run and its children. day, month: of the calendar, UTC. 7d: the last 168 hours and the
hour they began in. total: for ever."""

CapVerdict = Literal["cap", "unlimited", "removed"]
"""cap: at most so much. unlimited: somebody said that there is no cap. removed: as if never set."""


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
    reset: bool = Field(default=False, exclude_if=empty)
    """Said by an execution that a reset began: what was reserved by an earlier one counts, and a
    hold that was settled is opened again."""


class BudgetCall(Data):
    """One attempt at a paid call, authorised and recorded before it is made.

    Idempotent by (run_id, execution_id, step_id, attempt).
    """

    run_id: str
    """The reservation."""
    step_id: str
    """The step."""
    attempt: int = Field(ge=1)
    """Attempt of the step, from 1; each provider call has its own."""
    execution_id: str = ""
    """Temporal's current execution run id: a reset makes the same step's call again, and pays."""
    reset_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Said by an execution that a reset began: how long the run may still take. A hold that was
    settled when an earlier execution ended is opened again, with so much runtime."""
    tokens: int = Field(ge=0)
    """Worst case of this call."""
    micro_usd: int | None = Field(default=None, ge=0)
    """Worst case of this call; None when the price is not known."""
    input_tokens: int = Field(default=0, ge=0)
    """Estimated input of this call: charged when a call is lost before its reply began."""
    input_micro_usd: int | None = Field(default=None, ge=0)
    """The same in money."""


class BudgetMeter(Data):
    """What an authorised call really took. Idempotent by the call's own key."""

    run_id: str
    """The reservation."""
    step_id: str
    """The step."""
    attempt: int = Field(ge=1)
    """As authorised."""
    execution_id: str = ""
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
    since_reset: float | None = Field(default=None, ge=0, allow_inf_nan=False, exclude_if=absent)
    """Runtime used since the last reset; None: there was none. It is added to what was settled
    before, if anything was."""
    execution_id: str = Field(default="", exclude_if=empty)
    """Temporal's run id of the execution that ended; names an overrun."""


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


class BudgetHold(Data):
    """A reservation that is not settled yet."""

    run_id: str
    """The run."""
    workflow_run_id: str
    """Temporal's first execution run id."""
    reserved_at: datetime
    """When it was made (UTC, the database's clock)."""
    expires_at: datetime
    """From then on the sweeper asks."""
    seconds: float
    """Runtime held."""
    tokens: int
    """Tokens held."""
    micro_usd: int
    """Micro-USD held."""


class BudgetCap(Data):
    """One version of one cap: caps are never edited, the newest version holds."""

    scope: str
    """`caller:<id>`, `tenant:<id>` or `agent:<id>`; `*` as the id stands for each one alone."""
    window: Window | Literal["any"]
    """Over which time; any: all of them (only with the verdict unlimited)."""
    currency: Currency | Literal["any"]
    """Of what; any: all of them (only with the verdict unlimited)."""
    version: int = Field(ge=1)
    """1, 2, 3, ... for this scope, window and currency."""
    verdict: CapVerdict
    """What it says."""
    cap: float | None
    """The most that may be used, in the currency's unit; None unless the verdict is cap."""
    set_at: datetime
    """When (UTC)."""
    set_by: str = ""
    """Who."""
    note: str = ""
    """Why."""


class BudgetUse(Data):
    """What one scope used in one window of one currency, in the currency's unit."""

    scope: str
    """The scope."""
    window: Window
    """The window that is running now."""
    currency: Currency
    """Of what."""
    cap: float | None
    """The cap that holds; None when there is none."""
    settled: float
    """Spent."""
    reserved: float
    """Held for runs that go on."""


class BudgetOverrun(Data):
    """Spending that went over what was held for it: it explains use above a cap."""

    run_id: str
    """The run."""
    cause: str
    """The call's key, `settle`, or `late` and the call's key."""
    currency: Currency
    """Of what."""
    excess: float
    """How much more than was held."""
    at: datetime
    """When (UTC)."""
