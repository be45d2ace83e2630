"""RunResult: the workflow's one output."""

from datetime import datetime
from typing import TypeVar

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from executus.data import Data
from executus.errors import RunError, UserError
from executus.files import FileRef
from executus.letter import DeliveryReceipt
from executus.sanitize import json_text
from executus.status import Reason, Status
from executus.step import StepRecord
from executus.usage import Usage

T = TypeVar("T")
MAX_RESULT_STEPS = 1_000
"""Steps listed in a result; the audit has them all."""
MAX_RESULT_FILES = 100
"""Files listed in a result; the store has them all."""


class RunResult(Data):
    """What became of a run. Filled as far as possible in every ending."""

    run_id: str
    """The run's id: its Temporal workflow id."""
    status: Status
    """The outcome class."""
    reason: Reason
    """Which way it ended."""
    output: str = ""
    """The answer, or the best partial answer there is."""
    structured: JsonValue = None
    """The validated value when the agent has an `output_schema`."""
    error: str | None = None
    """One sentence for people; None when the status is ok."""
    iterations: int = Field(default=0, ge=0)
    """Model turns used."""
    steps: tuple[StepRecord, ...] = ()
    """In order of dispatch; at most the last 1,000."""
    steps_total: int = Field(default=0, ge=0)
    """All steps, those not listed included."""
    usage: Usage = Usage()
    """Sum over the run."""
    cost_micro_usd: int | None = None
    """Sum over the run in micro-USD; None when a call's price is not known."""
    descendants: int = Field(default=0, ge=0)
    """Runs that were started below it, all levels together; their usage and cost are in the sums
    above."""
    started_at: datetime
    """When the run started working (UTC, workflow time)."""
    ended_at: datetime
    """When its outcome was fixed (UTC, workflow time)."""
    audit_head: str | None = None
    """Head of the audit's hash chain; None when no audit is wired or its close did not land."""
    files: tuple[FileRef, ...] = ()
    """What tools put into the file store, in the order it came; at most the first 100."""
    delivery: DeliveryReceipt | None = None
    """Proof that the outcome was delivered; None when that was not asked for or did not land."""
    warnings: tuple[str, ...] = ()
    """What went wrong without changing the outcome: a file that was dropped, an audit close that
    did not land."""

    def parsed(self, kind: type[T]) -> T:
        """The structured result as the type that the agent's `output_schema` was made of.

        Raises:
            RunError: the run did not end well; says how.
            UserError: there is none, or it is no such value: of another schema, or one that the
                type's own validators refuse.
        """
        if self.status is not Status.OK:
            text = f"run {self.run_id} has no result: {self.error or self.reason.value}"
            raise RunError(self.status, self.reason, text)
        try:
            # From JSON and not from the value: it reads dates, enums and tuples.
            return TypeAdapter(kind).validate_json(json_text(self.structured))
        except ValidationError as error:
            named = getattr(kind, "__name__", str(kind))
            first = error.errors(include_url=False, include_input=False)[0]
            at = ".".join(str(part) for part in first["loc"]) or "the value"
            raise UserError(
                f"the structured result of run {self.run_id} is no {named}: {at}: {first['msg']}"
            ) from None
