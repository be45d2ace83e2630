"""Engine: what the loop needs of the world around it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from executus.contracts import ModelStepOutput
from executus.message import Fold, Message, ToolCallPart, ToolResultPart


class Engine(Protocol):
    """How steps are carried out."""

    def now(self) -> datetime:
        """Current time (UTC), deterministic."""
        ...

    def checkpoint(self) -> None:
        """Raise CancelledError when the run must stop.

        A cancel can be swallowed by a step that completes at the same moment (reliability.md F2),
        so the loop asks at every boundary.
        """
        ...

    def is_full(self) -> bool:
        """Whether the run's history is so long that it should continue as a new execution."""
        ...

    async def model_step(
        self, step_id: str, iteration: int, max_output_tokens: int, *, closing: bool
    ) -> ModelStepOutput:
        """One model turn over the transcript.

        Raises:
            RunError: no target answered, or the budget said no.
        """
        ...

    async def call_tools(
        self,
        iteration: int,
        calls: Sequence[ToolCallPart],
        answers: Mapping[str, ToolResultPart],
    ) -> list[ToolResultPart]:
        """Run the calls, several at a time; results in call order. Failures are results.

        `answers`, by call id, are those that need not be run.
        """
        ...

    def attached(self) -> Sequence[Message]:
        """What the tools of the last turn attached, as user messages; each is handed out once."""
        ...

    async def pause(self, why: str, seconds: float | None) -> None:
        """Wait until somebody raises a limit, or for `seconds`; the deadline still rules."""
        ...

    async def save(self) -> None:
        """Let the host keep a copy of the run, when it is time for one."""
        ...

    async def compact(
        self, step_id: str, fold: Fold, max_output_tokens: int | None
    ) -> Message | None:
        """A summary of the range, or None when none could be had.

        `max_output_tokens` that it may have; None = as many as any.
        """
        ...
