"""RunPlan: what `executus.resolve` froze for the run.

Authority and configuration never change under a run: its tools, targets, prices and bounds are in
history from the first second. Large parts (system prompt, schemas) are not repeated per step.
"""

from typing import Literal

from pydantic import Field, JsonValue

from executus.agent import RunnableAgent
from executus.critic import CriticPlan
from executus.data import Data, absent, empty
from executus.limits import Defaults
from executus.question import ApprovalRule
from executus.status import Reason

Effect = Literal["pure", "idempotent", "once"]
"""pure: no effect, may run again. idempotent: again with the same key has no further effect.
once: at most one attempt; a lost attempt is reported as `unknown`. The default is once."""

SKILL_USE = "skill_use"
"""The built-in tool that loads skill packs."""

Port = Literal["audit", "budget", "checkpointer", "files", "delivery", "letters"]


class Price(Data):
    """Micro-USD per million tokens; the worst tier where a provider has several."""

    input: int = Field(ge=0)
    """Fresh input."""
    output: int = Field(ge=0)
    """Output, reasoning included."""
    call: int = Field(default=0, ge=0, exclude_if=empty)
    """Micro-USD of each call, whatever it takes: some providers have a fee."""
    version: str = ""
    """Where the numbers are from, for the audit."""


class ModelTarget(Data):
    """One element of a tier's chain."""

    spec: str
    """`provider/model`; the model is everything after the first slash, verbatim."""
    context_window: int = Field(gt=0)
    """Tokens of input and output together."""
    price: Price | None = None
    """None: not known."""
    task_queue: str | None = None
    """Task queue of the workers that call this provider; None = the run's own."""

    @property
    def provider(self) -> str:
        """The part before the first slash."""
        return self.spec.partition("/")[0]

    @property
    def model(self) -> str:
        """The part after the first slash."""
        return self.spec.partition("/")[2]


class ToolDef(Data):
    """A tool as granted to this run."""

    name: str
    """Unique in the run."""
    description: str = ""
    """For the model."""
    parameters: dict[str, JsonValue]
    """JSON schema of the arguments."""
    digest: str
    """Digest of name, description and parameters; the tool's activity refuses another one."""
    effect: Effect = "once"
    """What running it again would mean."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds one attempt may take."""
    result_bytes: int = Field(default=65_536, gt=0)
    """Bytes of its result that enter the transcript."""
    image_bytes: int = Field(default=0, ge=0)
    """Bytes of the images that one call may attach; 0 = none."""
    attempts: int = Field(default=3, gt=0, le=20)
    """Attempts for `pure` and `idempotent` tools."""
    task_queue: str | None = None
    """Task queue of the workers that have it; None = the run's own."""
    local: bool = False
    """Runs inside the workflow task: one event instead of six. Quick and pure tools only."""
    secret_arguments: bool = False
    """Arguments are hidden from summaries, the summariser and the audit."""
    requires_approval: bool = False
    """A person has to say yes to each call."""
    human: bool = False
    """`ask_human`: a call is a question to people, and no activity."""
    agent: RunnableAgent | None = None
    """Set: a call runs this agent as a child run. None: a call is an activity."""
    source: str = ""
    """Where it is from when it is no function of the host's: `mcp:<server>/<tool>`."""


class PhasePlan(Data):
    """A phase as it will run; see `executus.phase.Phase`."""

    name: str
    """For people, and for the prompts of later phases."""
    system_prompt: str = ""
    """Its template, without the run's own prompt above it."""
    targets: tuple[ModelTarget, ...]
    """The chain, tried in order."""
    tools: tuple[str, ...] = ()
    """Names of the granted tools that it has."""
    max_iterations: int
    """Model turns."""
    max_runtime: float | None = None
    """Seconds; None: until the run's own deadline."""
    optional: bool = False
    """Whether the run goes on when it fails."""
    fallback: str = ""
    """Its output then."""
    bare: bool = False
    """One single call without tools."""


class PackRef(Data):
    """A skill pack as granted to this run: this content and no other."""

    name: str
    """What the model calls it."""
    digest: str
    """SHA-256 of its content; another one is refused when it is asked for."""


class RunPlan(Data):
    """Everything a run needs to know about its host."""

    agent_id: str
    """For budgets and audit."""
    agent_name: str
    """For people."""
    registered: bool = Field(default=False, exclude_if=empty)
    """Whether the host has an agent of this name: then it is a label of metrics."""
    system_prompt: str = ""
    """Host header and agent prompt, joined."""
    targets: tuple[ModelTarget, ...]
    """The chain, tried in order; with phases, every target of any of them."""
    summary_targets: tuple[ModelTarget, ...] = ()
    """The chain for compaction; the run's own when empty."""
    tools: tuple[ToolDef, ...] = ()
    """The grant."""
    packs: tuple[PackRef, ...] = ()
    """Skill packs whose instructions the model may load."""
    catalogue: str = ""
    """What the model is told of them."""
    input_schema: dict[str, JsonValue] | None = None
    """JSON schema of the invocation's inputs."""
    output_schema: dict[str, JsonValue] | None = None
    """JSON schema of the answer: of the last phase's, where there are phases."""
    approvals: tuple[ApprovalRule, ...] = ()
    """Calls that need a person's yes besides those of tools marked so: the host's and the agent's
    rules, any of which suffices."""
    phases: tuple[PhasePlan, ...] = ()
    """In order; empty: the run is one loop."""
    critic: CriticPlan | None = Field(default=None, exclude_if=absent)
    """Who watches the run, if anybody is asked to."""
    critic_targets: tuple[ModelTarget, ...] = Field(default=(), exclude_if=empty)
    """The chain of a judge; the run's own when empty."""
    bounds: Defaults
    """Defaults with the agent's own values on top: every number is concrete."""
    wired: tuple[Port, ...] = ()
    """Ports that this host has; the others cost no activity."""

    @property
    def instructions(self) -> str:
        """The system prompt as it is sent: with the catalogue where its tool is there too."""
        listed = self.catalogue if any(tool.name == SKILL_USE for tool in self.tools) else ""
        return "\n\n".join(text for text in (self.system_prompt, listed) if text)

    @property
    def secret_tools(self) -> frozenset[str]:
        """Names of the tools whose arguments nobody is shown."""
        return frozenset(tool.name for tool in self.tools if tool.secret_arguments)

    @property
    def watched(self) -> CriticPlan | None:
        """The critic, when somebody drives it."""
        return self.critic if self.critic is not None and not self.critic.off else None

    @property
    def deadline_seconds(self) -> float:
        """The deadline as the run begins, from the start of work."""
        return self.watched.deadline_seconds if self.watched else self.bounds.max_runtime

    @property
    def reach_seconds(self) -> float:
        """The latest that the deadline can become."""
        return self.watched.reach_seconds if self.watched else self.bounds.max_runtime


class Refusal(Data):
    """Why a request cannot be planned."""

    reason: Reason
    """Closed set."""
    message: str
    """One sentence: the thing, the known set, the way out."""


class Resolved(Data):
    """Outcome of `executus.resolve`: a plan or a refusal, never an exception for bad input."""

    plan: RunPlan | None = None
    """Set when the run can go on."""
    refusal: Refusal | None = None
    """Set when it cannot."""
    wired: tuple[Port, ...] = ()
    """Ports of the host, needed to audit a refusal too."""
