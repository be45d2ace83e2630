"""CriticConfig: who watches a run, how long it may be silent, and what more it may be given.

With a critic `max_runtime` is the soft trigger. The deadline is the backstop behind it, and moves
out with each extension, up to an absolute guard.
"""

from datetime import datetime, timedelta
from typing import Literal

from pydantic import Field, model_validator

from executus.data import Data, Record

WATCHDOG, JUDGE = "watchdog", "judge"
"""The critics that come with executus; every other name is the host's own (`Ports.critic`)."""
DAY = 86_400.0
MAX_SECONDS = 31_536_000.0
MAX_STEPS = 100_000
"""Model turns that no raise passes."""
MAX_LOOKS = 3_000
"""Looks at one run: each is some events, and Temporal ends a run at 51,200."""
MAX_LEAD = 60.0
"""Seconds before the deadline at which a run that works is looked at once more."""

Cause = Literal["idle", "deadline"]
"""idle: nothing happened for the idle time. deadline: it is near, and the run works."""


class CriticConfig(Data):
    """Enabled by being there: `critic = CriticConfig()` is the watchdog, which extends once."""

    kind: str = Field(default=WATCHDOG, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    """`watchdog`: extends while it may, then lets the backstop end the run. `judge`: a model
    decides. Any other name: the host's own critic."""
    tier: str | None = Field(default=None, min_length=1, max_length=1_000)
    """Tier or spec of the judge's model; None = the run's own."""
    backstop: float = Field(default=2.0, gt=1, le=100)
    """The deadline, in multiples of max_runtime."""
    idle_seconds: float | None = Field(default=None, ge=3, le=MAX_SECONDS)
    """Silence after which the critic is asked; None = max_runtime. Signs of life are up to two
    seconds old when they are seen, hence the least."""
    extensions: int = Field(default=1, ge=0, le=1_000)
    """Times that a run may be given more time."""
    extend_seconds: float | None = Field(default=None, gt=0, le=MAX_SECONDS)
    """What one extension gives at most; None = max_runtime."""
    raise_steps: int | None = Field(default=None, gt=0, le=MAX_STEPS)
    """Model turns that one raise of the judge's gives; None = max_iterations."""
    absolute_seconds: float = Field(default=DAY, gt=0, le=MAX_SECONDS)
    """No extension passes it. A max_runtime above it counts instead."""

    @model_validator(mode="after")
    def _tier_is_the_judges(self) -> "CriticConfig":
        if self.tier is not None and self.kind != JUDGE:
            msg = f"critic.tier is the judge's; the critic `{self.kind}` asks no model of ours"
            raise ValueError(msg)
        return self

    def planned(self, max_runtime: float, max_iterations: int) -> "CriticPlan":
        """Every number concrete, for a run with these bounds."""
        guard = max(self.absolute_seconds, max_runtime)
        deadline = min(max_runtime * self.backstop, guard)
        extend = self.extend_seconds or max_runtime
        return CriticPlan(
            kind=self.kind,
            idle_seconds=self.idle_seconds or max_runtime,
            lead_seconds=max(0.0, min(MAX_LEAD, max_runtime / 4, (deadline - max_runtime) / 2)),
            deadline_seconds=deadline,
            reach_seconds=min(deadline + self.extensions * extend, guard),
            extensions=self.extensions,
            extend_seconds=extend,
            raise_steps=self.raise_steps or max_iterations,
        )

    def reach(self, max_runtime: float) -> float:
        """Seconds from its start that a run may take at the very most."""
        return self.planned(max_runtime, 1).reach_seconds


class CriticPlan(Data):
    """The critic of one run, frozen when the run began."""

    kind: str
    """See `CriticConfig.kind`."""
    idle_seconds: float
    """Silence after which it is asked."""
    lead_seconds: float
    """How long before the deadline it looks once more."""
    deadline_seconds: float
    """The deadline before any extension, from the start of work."""
    reach_seconds: float
    """The deadline after every extension: past it, nothing of the run goes on."""
    extensions: int
    """How many there may be."""
    extend_seconds: float
    """What one gives at most."""
    raise_steps: int
    """Model turns that a raise gives where no number is said."""
    off: str = ""
    """Why nobody watches after all; the run's plain max_runtime is its deadline then."""

    @property
    def problem(self) -> str | None:
        """Why it cannot be watched like that, if it cannot."""
        least = self.reach_seconds / MAX_LOOKS
        if self.idle_seconds >= least:
            return None
        return (
            f"critic.idle_seconds {self.idle_seconds:g} is too short for a run that may take "
            f"{self.reach_seconds:.0f} s: its looks would fill the history; at least {least:.1f}"
        )


class CriticState(Record):
    """What a watch remembers; it is handed over with the run."""

    asked: int = 0
    """Looks that were to bring a decision: numbers the steps `w1`, `w2` ..."""
    extensions: int = 0
    """Extensions given so far."""
    looked_at: datetime | None = None
    """When it last looked and saw nothing new."""
    judged_at: datetime | None = None
    """When it last decided on a silence: once for each."""
    seen_at: datetime | None = None
    """Latest sign of life that history does not show: a tool's heartbeat, a child's step."""
    reviewed: datetime | None = None
    """The deadline that was last looked at as near."""


def next_look(
    plan: CriticPlan,
    state: CriticState,
    active_at: datetime,
    deadline_at: datetime,
    extensions_left: int,
) -> tuple[datetime, Cause] | None:
    """When to look next, and why; None: there is nothing left to decide. Pure.

    `active_at`: the last activity that history shows. One timer per idle time is enough: activity
    meanwhile only moves the next look.
    """
    spent = extensions_left < 1
    if spent and plan.kind == WATCHDOG:
        return None
    since = max(t for t in (active_at, state.seen_at, state.looked_at) if t is not None)
    idle = since + timedelta(seconds=plan.idle_seconds)
    near = deadline_at - timedelta(seconds=plan.lead_seconds)
    if spent or state.reviewed == deadline_at or idle <= near:
        return idle, "idle"
    return near, "deadline"


def must_ask(
    cause: Cause,
    at: datetime,
    active_at: datetime,
    judged_at: datetime | None,
    idle_seconds: float,
) -> bool:
    """Whether a look is to bring a decision. Pure.

    `active_at`: the last sign of life of any kind. A silence that was decided on is not decided on
    again; whatever breaks it begins the next one.
    """
    if judged_at is not None and active_at <= judged_at:
        return False
    return cause == "deadline" or (at - active_at).total_seconds() >= idle_seconds
