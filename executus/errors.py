"""Every error executus raises, in one tree.

ExecutusError
├── UserError                you called it wrong: fix the call
│   ├── RequestError         the RunRequest is invalid or too large
│   ├── FileRefused          a file that no store keeps: empty or too large
│   ├── UnknownFile          no such file among those of this run
│   └── ConfigError          the host's configuration does not fit together
│       ├── UnknownModel     a tier, alias, provider or spec that does not resolve
│       └── MissingExtra     an optional dependency is not installed
├── ModelError               a model call failed; says in which class
├── ToolError                a tool reports a failure to the model
│   └── ToolRetry            the same, and trying again may help
│       └── ToolLost         the same, and what the lost call did is unknown
├── DeliveryError            a result could not be delivered; says whether trying again may help
├── BadSignature             a delivery that did not come from who it says
├── StoreError               a store could not do its work
│   ├── SchemaError          the database's schema is not this version's
│   └── ReservationMismatch  an id was used again with other parameters
└── RunError                 raised inside a run to end it in a typed status
"""

from typing import Literal

from executus.status import Reason, Status

ModelFault = Literal[
    "rate_limited",
    "overloaded",
    "timeout",
    "connection",
    "incomplete_response",
    "corrupt_response",
    "not_found",
    "request_rejected",
    "context_overflow",
    "provider_auth",
    "provider_quota",
    "unsupported",
    "script_exhausted",
    "unknown",
]
"""What went wrong with a provider. The first six and `unknown` are transient: another attempt may
help. `not_found` and `unsupported` move on to the next target without penalty. All
else is final."""

TRANSIENT_FAULTS: frozenset[ModelFault] = frozenset(
    {
        "rate_limited",
        "overloaded",
        "timeout",
        "connection",
        "incomplete_response",
        "corrupt_response",
        "unknown",
    }
)
SKIP_FAULTS: frozenset[ModelFault] = frozenset({"not_found", "unsupported"})


class ExecutusError(Exception):
    """Base of every error here."""


class UserError(ExecutusError):
    """The caller made a mistake; the message names it and the way out."""


class RequestError(UserError):
    """A RunRequest that cannot be run."""

    def __init__(self, message: str, *, reason: Reason = Reason.INVALID_REQUEST) -> None:
        super().__init__(message)
        self.reason = reason


class ConfigError(UserError):
    """The host's configuration does not fit together."""


class FileRefused(UserError):
    """A file that no store keeps: empty or too large."""


class UnknownFile(UserError):
    """There is no such file among those of this run and caller."""


class UnknownModel(ConfigError):
    """A tier, alias, provider or model spec that does not resolve."""


class MissingExtra(ConfigError):
    """An optional dependency is not installed; the message has the install line."""

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(f'{purpose} needs an extra: pip install "executus[{extra}]"')
        self.extra = extra


class ModelError(ExecutusError):
    """One attempt at a model call failed.

    The message is scrubbed of secrets and safe to show. `retry_after` is the provider's own wish in
    seconds, uncapped. `sent` is False when no byte reached the provider, so nothing can be billed.
    """

    def __init__(
        self,
        message: str,
        *,
        fault: ModelFault,
        retry_after: float | None = None,
        status_code: int | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.retry_after = retry_after
        self.status_code = status_code
        self.sent = sent

    @property
    def transient(self) -> bool:
        """Whether another attempt may help."""
        return self.fault in TRANSIENT_FAULTS


class ToolError(ExecutusError):
    """Raise it in a tool: the message goes to the model as a failed result, and the run goes on."""


class ToolRetry(ToolError):
    """Raise it in a `pure` or `idempotent` tool: Temporal tries again, then the model is told."""


class ToolLost(ToolRetry):
    """Raise it in a tool whose call went out and whose answer did not come back.

    A tool that may run again is tried again. Otherwise the result's outcome is `unknown`, and the
    model is told to verify; of a `pure` tool it is an error, since nothing can have happened.
    """


class DeliveryError(ExecutusError):
    """A delivery did not land.

    The message is for people and safe to show. `retry_after` is the receiver's own wish in seconds,
    uncapped. `permanent`: trying again does not help.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        retry_after: float | None = None,
        status_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.retry_after = retry_after
        self.status_code = status_code


class BadSignature(ExecutusError):
    """A received delivery is forged, altered, or too old; the message says which."""


class StoreError(ExecutusError):
    """A store could not do its work; trying again may help."""


class SchemaError(StoreError):
    """The database's schema is not the one this version needs; `executus migrate` brings it up."""


class ReservationMismatch(StoreError):
    """An id was used again with other parameters; trying again does not help."""


class RunError(ExecutusError):
    """Ends a run in a typed status with a sentence for people."""

    def __init__(self, status: Status, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
