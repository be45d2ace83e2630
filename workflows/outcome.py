"""Turn failures of activities into endings of the run."""

from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    TimeoutError,  # noqa: A004 - Temporal's own, which is the one that arrives here
    TimeoutType,
)

from executus.budget import BudgetDecision
from executus.contracts import BUDGET_DENIED, MODEL_ERROR, ModelFailure
from executus.errors import RunError
from executus.status import Reason, Status

AT_DEADLINE = 1.0
"""Seconds before the deadline in which a failed model call is the deadline's doing, not the
model's: its time-outs are cut to what is left of the run. A final answer (a bad key, a refused
request) is an error at any time: the clock does not make a genuine error a timeout."""

REASONS: dict[str, Reason] = {
    "request_rejected": Reason.REQUEST_REJECTED,
    "context_overflow": Reason.TOO_LARGE,
    "provider_auth": Reason.PROVIDER_AUTH,
    "provider_quota": Reason.PROVIDER_QUOTA,
    "internal": Reason.INTERNAL,
}
"""Faults with a reason of their own; every other one is `model_unavailable`."""


def budget_denial(error: ActivityError) -> RunError | None:
    """The ending when the budget refused a model call; None when that is not what happened."""
    cause = error.cause
    if not isinstance(cause, ApplicationError) or cause.type != BUDGET_DENIED:
        return None
    decision = BudgetDecision.model_validate(cause.details[0])
    return RunError(Status.BUDGET_EXCEEDED, Reason.BUDGET_REJECTED, denial_text(decision))


def denial_text(decision: BudgetDecision) -> str:
    """A denial as a sentence, with what waiting would do."""
    if decision.retry_after is None:
        return f"budget: {decision.message}; waiting does not help"
    return f"budget: {decision.message}; try again in {decision.retry_after:.0f} s"


def model_ending(error: ActivityError, seconds_left: float) -> RunError:
    """The ending when no target answered."""
    cause = error.cause
    refused = isinstance(cause, ApplicationError) and cause.non_retryable
    if seconds_left <= AT_DEADLINE and not refused:
        text = "deadline: the time was up while a model was asked"
        return RunError(Status.TIMEOUT, Reason.DEADLINE, text)
    if isinstance(cause, ApplicationError) and cause.type == MODEL_ERROR and cause.details:
        failure = ModelFailure.model_validate(cause.details[0])
        reason = REASONS.get(failure.fault, Reason.MODEL_UNAVAILABLE)
        return RunError(Status.ERROR, reason, failure.message)
    if isinstance(cause, TimeoutError) and cause.type == TimeoutType.SCHEDULE_TO_START:
        text = "no worker of the provider's task queue took the model call"
        return RunError(Status.ERROR, Reason.MODEL_UNAVAILABLE, text)
    if isinstance(cause, TimeoutError):
        text = f"the model did not answer in time ({seconds_left:.0f} s left)"
        return RunError(Status.ERROR, Reason.MODEL_UNAVAILABLE, text)
    if isinstance(cause, ApplicationError) and cause.type in ENCODING_FAILURES:
        return RunError(Status.ERROR, Reason.TOO_LARGE, "the reply is too large to be recorded")
    text = cause.message if isinstance(cause, ApplicationError) else str(cause or error)
    return RunError(Status.ERROR, Reason.INTERNAL, f"the model step failed: {text}")


ENCODING_FAILURES = frozenset({"PayloadsTooLarge", "PayloadSizeError"})
"""Failure types of a result that Temporal cannot take (reliability.md F5)."""
