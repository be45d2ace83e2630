"""What a critic is shown, and what it may decide."""

from pydantic import Field

from executus.critic import Cause
from executus.data import Data
from executus.state import LiveState


class CriticSubject(Data):
    """A run that is to be watched, before it begins."""

    kind: str
    """`CriticConfig.kind` of its agent."""
    agent_id: str
    """What runs."""
    caller_id: str
    """Who asks."""
    tenant_id: str = ""
    """Their organisation."""
    max_runtime: float
    """The soft trigger, in seconds."""


class PendingWork(Data):
    """Something that a run waits for."""

    name: str
    """Activity type, or the run id of a child run."""
    attempt: int = 1
    """Which attempt."""
    seconds: float | None = None
    """Since this attempt began; None between two attempts."""
    quiet_seconds: float | None = None
    """Since it last said something of its own; None: it never did."""
    said: str = ""
    """What it said: heartbeat details, a child's newest step. Redacted."""
    failure: str = ""
    """Why the attempt before failed."""


class CriticView(Data):
    """A run at the moment of a look. Texts are redacted."""

    kind: str
    """`CriticConfig.kind`."""
    cause: Cause
    """Why it is looked at."""
    agent_id: str
    """What runs."""
    caller_id: str
    """Who asked."""
    tenant_id: str = ""
    """Their organisation."""
    task: str
    """The beginning of what was asked."""
    latest: str = ""
    """The end of what the model last said."""
    state: LiveState
    """Steps, spend, iteration, limits; its newest steps only."""
    work: tuple[PendingWork, ...] = ()
    """What it waits for."""
    idle_seconds: float
    """Silence so far."""
    seconds_left: float
    """Until the deadline."""
    extensions_left: int
    """Extensions it may still be given."""
    extend_seconds: float
    """What one gives at most."""
    raise_steps: int
    """What a raise gives where no number is said; 0: the turns of phases are their own."""


class CriticDecision(Data):
    """What is to happen; several things at once may. Nothing set: the run goes on as it is."""

    nudge: str = ""
    """Said to the agent before its next model call."""
    extend: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Seconds that the deadline moves out: at most `extend_seconds`, while extensions are left."""
    raise_steps: int = Field(default=0, ge=0)
    """Model turns (iterations) that the run may have more."""
    kill: str | None = None
    """Why the run ends now, with status killed; nothing else of the decision counts then."""
    why: str = ""
    """For the record."""

    @property
    def summary(self) -> str:
        """One line for people."""
        if self.kill is not None:
            return f"kill: {self.kill}"
        parts = [
            f"extend {self.extend:.0f} s" if self.extend else "",
            f"{self.raise_steps} more turns" if self.raise_steps else "",
            f"nudge: {self.nudge}" if self.nudge else "",
        ]
        what = ", ".join(part for part in parts if part) or "continue"
        return f"{what} ({self.why})" if self.why else what


class Watchdog:
    """Gives a run more time while it may, and leaves the rest to the backstop."""

    async def watches(self, subject: CriticSubject) -> bool:
        """Every run."""
        del subject
        return True

    async def decide(self, view: CriticView) -> CriticDecision:
        """Extend, if an extension is left."""
        if view.extensions_left < 1:
            return CriticDecision(why="no extension is left")
        return CriticDecision(extend=view.extend_seconds, why=f"silent {view.idle_seconds:.0f} s")
