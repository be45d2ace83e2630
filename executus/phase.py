"""Phase: one stretch of an agent's work, with a prompt, a tier, tools and bounds of its own."""

from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator

from executus.data import Data
from executus.template import NAME, QUERY, TemplateError, names, unknown

MAX_PHASES = 20
MAX_PHASE_NAME = 64


class Phase(Data):
    """Phases run one after the other; each begins with a fresh conversation.

    It is shown what the run was asked, and of earlier phases only what its prompt puts in by name.
    """

    name: str = Field(max_length=MAX_PHASE_NAME, pattern=rf"^{NAME}$")
    """An identifier. Later prompts name its output `{{name}}`; of two phases of one name that is
    the later one's."""
    system_prompt: str = Field(default="", max_length=500_000)
    """Goes below the agent's own. A template: `{{Query}}` is what was asked, `{{<Phase>}}` the
    output of an earlier phase."""
    model_tier: str | None = Field(default=None, min_length=1, max_length=1_000)
    """None: the agent's."""
    max_iterations: int | None = Field(default=None, gt=0, le=100_000)
    """Model turns of this phase; None: the agent's number."""
    max_runtime: float | None = Field(default=None, gt=0, le=31_536_000)
    """Seconds of this phase; None, or more than the run has left: the run's own deadline rules."""
    tools: tuple[str, ...] = Field(default=(), max_length=256)
    """Those of the agent's tools that it may use. Empty: all of them."""
    optional: bool = False
    """Whether the run goes on when the phase fails."""
    fallback: str = Field(default="", max_length=10_000)
    """Output of an optional phase that failed; empty: a line that says that it did."""
    bare: bool = False
    """One single model call without tools."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.name.casefold() == QUERY.casefold():
            raise ValueError(
                f"a phase cannot be called {self.name}: {{{{{QUERY}}}}} is the question"
            )
        if self.fallback and not self.optional:
            raise ValueError("fallback is for an optional phase: set optional, or leave it out")
        if self.bare and (self.tools or self.max_iterations):
            raise ValueError("a bare phase is one call without tools: no tools, no max_iterations")
        try:
            names(self.system_prompt)
        except TemplateError as error:
            raise ValueError(f"system_prompt: {error}") from None
        return self


def phases_problem(phases: Sequence[Phase]) -> str | None:
    """Why these phases cannot follow each other like that, if they cannot."""
    known = {QUERY: None}
    for phase in phases:
        for name in names(phase.system_prompt):
            if name not in known:
                return f"phase `{phase.name}`: system_prompt: {unknown(name, known)}"
        known[phase.name] = None
    return None
