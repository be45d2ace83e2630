"""RunnableAgent: what to run."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from executus.critic import CriticConfig
from executus.data import Data, absent
from executus.limits import Limits
from executus.message import MAX_NAME
from executus.output_schema import Schema, lowered
from executus.phase import MAX_PHASES, Phase, phases_problem
from executus.question import ApprovalRule

Visibility = Literal["private", "shared", "public"]
"""Who an agent serves: its owner, its owner's team, or anybody. A tool carries the same mark as the
widest audience it is safe for, and an agent gets no tool narrower than itself."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$"
if TYPE_CHECKING:
    OutputSchema: TypeAlias = Schema | type[Any]
else:
    OutputSchema = Annotated[Schema, BeforeValidator(lowered)]
"""A JSON schema. Given as a Python type, it becomes that type's."""


class RunnableAgent(Data):
    """Plain data that a run needs and nothing more; no store required.

    None in a field means the host's default (`executus.limits.Defaults`).
    """

    name: str = Field(min_length=1, max_length=MAX_NAME, pattern=NAME_PATTERN)
    """For people, budgets and the Temporal UI."""
    id: str = Field(default="", max_length=MAX_NAME)
    """Stable identity for budgets and audit; the name when empty."""
    description: str = Field(default="", max_length=4_000)
    """What it is good for, in a line or two: shown to an agent that may hand work to it."""
    system_prompt: str = Field(default="", max_length=500_000)
    """Goes below the host's system header."""
    model_tier: str | None = Field(default=None, min_length=1, max_length=1_000)
    """A tier (`fast`) or a model spec (`provider/model`, several with commas: tried in turn)."""
    max_iterations: int | None = Field(default=None, gt=0, le=100_000)
    """Model turns, the answering one included; with phases, of each that has no own number."""
    max_runtime: float | None = Field(default=None, gt=0, le=31_536_000)
    """Seconds from the moment the run starts working; time in a queue does not count."""
    tools: tuple[str, ...] = Field(default=(), max_length=256)
    """Names of registered tools. Empty: one plain model call and no loop."""
    skill_packs: tuple[str, ...] = Field(default=(), max_length=64)
    """Names of skill packs of the host: their descriptions stand in the prompt, and the tool
    `skill_use` loads their instructions on demand."""
    sub_agents: tuple[str, ...] = Field(default=(), max_length=64)
    """Names of agents it may hand work to: each is a tool `agent__<name>`, run as a child run."""
    skills: tuple[str, ...] = Field(default=(), max_length=64)
    """The same for agents that take named inputs: each is a tool `skill__<name>`, whose arguments
    are that agent's `input_schema`."""
    input_schema: dict[str, JsonValue] | None = None
    """JSON schema of `Invocation.inputs`: a run whose inputs do not match is refused."""
    approvals: tuple[ApprovalRule, ...] = Field(default=(), max_length=64)
    """Tool calls that need a person's yes, besides those the host and the tools themselves name."""
    output_schema: OutputSchema | None = None
    """JSON schema of the answer, or in Python a pydantic model or any other type; the validated
    value is `RunResult.structured`."""
    phases: tuple[Phase, ...] = Field(default=(), max_length=MAX_PHASES)
    """Stretches of work, one after the other; the output of the last one is the run's. Empty: the
    run is one loop."""
    limits: Limits = Limits()
    """Bounds besides iterations and runtime."""
    critic: CriticConfig | None = Field(default=None, exclude_if=absent)
    """Who watches the run. With one, max_runtime is when it is asked and not when the run ends."""
    visibility: Visibility = "private"
    """Whom the agent serves; decides which tools it may have."""

    @model_validator(mode="after")
    def _phases_fit(self) -> Self:
        problem = phases_problem(self.phases) or self.output_problem
        if problem is not None:
            raise ValueError(problem)
        return self

    @property
    def output_problem(self) -> str | None:
        """Why its phases cannot bring what the output schema asks for, if they cannot."""
        if self.output_schema is None or not self.phases or not self.phases[-1].optional:
            return None
        return (
            f"phase `{self.phases[-1].name}` is the last one and optional: its fallback would "
            "not match the output_schema; make it required or leave the schema out"
        )

    @property
    def identity(self) -> str:
        """The id, or the name when there is none."""
        return self.id or self.name
