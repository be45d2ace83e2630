"""Build what a run leaves behind: its result, the head kept in the memo, the typed failure."""

from pydantic import JsonValue
from temporalio import workflow
from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.exceptions import FailureError

from executus.data import json_bytes
from executus.result import MAX_RESULT_STEPS, RunResult
from executus.workflows.ledger import Ledger

MAX_RESULT_BYTES = 900_000
"""JSON bytes of a result: a payload over 2 MiB would hang the run (reliability.md F6)."""
MAX_OUTPUT_BYTES = 262_144
"""Bytes of the output in a result."""
HEAD_CHARACTERS = 500
"""Characters of output in the memo; Temporal warns of a memo over 2 KiB."""
FAILURE_TYPE = "executus.{status}"
"""Failure type of a run that did not end well; `details[0]` is its RunResult."""


def fit_steps(result: RunResult, ledger: Ledger, limit_bytes: int) -> RunResult:
    """The result with its newest steps: at most 1,000, and only as many as its size allows."""
    kept = ledger.newest(MAX_RESULT_STEPS)
    room = limit_bytes - json_bytes(result)
    used, first = 0, len(kept)
    while first > 0 and used + (size := json_bytes(kept[first - 1]) + 1) <= room:
        used += size
        first -= 1
    return result.model_copy(update={"steps": kept[first:], "steps_total": ledger.total})


def result_head(result: RunResult) -> dict[str, JsonValue]:
    """What `describe()` can tell without a worker: the result without steps, its texts cut."""
    head = result.model_copy(
        update={
            "steps": (),
            "files": (),
            "structured": None,
            "output": result.output[:HEAD_CHARACTERS],
            "error": (result.error or "")[:HEAD_CHARACTERS] or None,
            "warnings": (),
        }
    )
    return head.model_dump(mode="json")


def sentence(result: RunResult) -> str:
    """One sentence for the person who looks at the Temporal UI."""
    seconds = (result.ended_at - result.started_at).total_seconds()
    done = f"{seconds:.0f} s used, {result.iterations} iterations, {result.steps_total} steps done"
    return f"{result.reason.value}: {result.error or 'no further detail'} ({done})"


def failure(result: RunResult) -> FailureError:
    """The error that ends the workflow as Failed, carrying the whole result.

    Built as a ready failure message: one raised in the ordinary way carries a Python stack trace,
    which the Temporal UI shows above everything else.
    """
    message = sentence(result)
    details = workflow.payload_converter().to_payloads([result])
    info = ApplicationFailureInfo(
        type=FAILURE_TYPE.format(status=result.status.value),
        non_retryable=True,
        details=Payloads(payloads=details),
    )
    return FailureError(
        message, failure=Failure(message=message, source="executus", application_failure_info=info)
    )
