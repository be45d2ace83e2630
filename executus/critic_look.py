"""Input and output of `executus.critic`: one look at a run."""

from datetime import datetime

from executus.contracts import Failover, RunKey
from executus.critic import Cause
from executus.critic_view import CriticDecision
from executus.data import Data
from executus.usage import Usage


class CriticLook(Data):
    """Input of `executus.critic`; everything else is asked of the workflow, outside history."""

    key: RunKey
    """The run."""
    step_id: str
    """The step, if it becomes one."""
    plan_digest: str
    """Which plan."""
    cause: Cause
    """Why it looks."""
    at: datetime
    """Workflow time (UTC): other clocks are compared with it."""
    active_at: datetime
    """Last activity that is known of."""
    judged_at: datetime | None = None
    """When the critic last decided on a silence."""
    seconds_left: float
    """Until the deadline."""
    extensions_left: int
    """Extensions the run may still be given."""
    extend_seconds: float = 0.0
    """What one would give: less where the latest possible deadline is near."""
    caller_id: str
    """Who asked."""
    tenant_id: str = ""
    """Their organisation."""


class CriticSeen(Data):
    """Output of `executus.critic`."""

    active_at: datetime
    """Last sign of life of any kind."""
    decision: CriticDecision | None = None
    """None: it was not asked, or it failed."""
    failed: str | None = None
    """Why it brought no decision although it was asked."""
    usage: Usage | None = None
    """Tokens of a judge."""
    cost_micro_usd: int | None = None
    """Cost of a judge; None when the price is not known."""
    spec: str = ""
    """The model that judged."""
    failovers: tuple[Failover, ...] = ()
    """Who did not answer before."""
    attempt: int = 1
    """Temporal attempt that brought it."""

    @property
    def asked(self) -> bool:
        """Whether a decision was asked for."""
        return self.decision is not None or self.failed is not None

    @property
    def summary(self) -> str:
        """One line for people."""
        if self.decision is not None:
            return self.decision.summary
        return f"no decision: {self.failed}"
