"""Take in what a run is started with: a request, or what an earlier execution hands over."""

from dataclasses import dataclass
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.api.common.v1 import Payload

from executus.carry import Carry
from executus.data import Data
from executus.delivery_target import DeliveryTarget
from executus.errors import RequestError
from executus.request import MAX_REQUEST_BYTES, RunRequest
from executus.sanitize import clean_line
from executus.status import Reason

D = TypeVar("D", bound=Data)
READ = Payload()
"""In place of every argument that was read: one for all."""


HANDED_OVER = {"request", "plan", "from_execution"}
"""Fields that no request has, and every version of a carry."""


class OtherVersion(RuntimeError):
    """Fails the workflow task, and not the run: a worker that is right for it may come."""


@dataclass(slots=True)
class Received:
    """What a run was started with, until it is read; in place of Temporal's RawValue.

    The call of the workflow holds its argument until it ends, so the argument has to let go.
    """

    payload: Payload

    def forget(self) -> None:
        """It was read: the request or the carried state is all that counts now."""
        self.payload = READ


def decode_request(request: Any) -> RunRequest:  # noqa: ANN401 - raw at run time, see agent_run.Request
    """The request, checked.

    Raises:
        RequestError: it is too large, does not validate, or names another run id.
    """
    size = len(request.payload.data)
    if size > MAX_REQUEST_BYTES:
        text = f"the request has {size:,} bytes; the limit is {MAX_REQUEST_BYTES:,}"
        raise RequestError(text, reason=Reason.TOO_LARGE)
    decoded = _from_payload(request, RunRequest)
    if decoded is None:
        raise RequestError("the request is empty: pass one RunRequest")
    run_id = decoded.invocation.run_id
    if run_id is not None and run_id != workflow.info().workflow_id:
        text = f"the workflow id is the run id: start it with id={run_id!r}, or leave run_id out"
        raise RequestError(text)
    return decoded


def decode_carry(raw: Any) -> Carry | None:  # noqa: ANN401 - raw at run time, see agent_run.Request
    """What an earlier execution handed over.

    It holds the grant, so only the run itself may pass it: a caller's is an invalid request.

    Raises:
        OtherVersion: it is what a run hands over, and this version cannot read it.
    """
    if workflow.info().continued_run_id is None:
        return None
    try:
        return _from_payload(raw, Carry)
    except RequestError as error:
        if _names(raw) >= HANDED_OVER:
            raise OtherVersion(
                f"the run was handed over by another version of executus ({error}): it goes on as "
                "soon as a worker of that version, or of a later one, takes it"
            ) from None
        return None  # the server started the request again, by a retry policy of the caller's


def read_target(raw: Any) -> DeliveryTarget | None:  # noqa: ANN401 - raw at run time, see agent_run.Request
    """Where the outcome of a request that cannot be run goes, if that much of it can be read."""
    try:
        request = workflow.payload_converter().from_payload(raw.payload, dict[str, Any])
        return DeliveryTarget.model_validate(request["invocation"]["delivery"])
    except Exception:  # noqa: BLE001 - it did not validate to begin with
        return None


def _names(raw: Any) -> set[str]:  # noqa: ANN401 - a RawValue at run time
    try:
        return set(workflow.payload_converter().from_payload(raw.payload, dict[str, Any]))
    except Exception:  # noqa: BLE001 - no object
        return set()


def _from_payload(raw: Any, kind: type[D]) -> D | None:  # noqa: ANN401 - a RawValue at run time
    if not raw.payload.metadata:
        return None
    try:
        decoded = workflow.payload_converter().from_payload(raw.payload, kind)
    except Exception as error:  # noqa: BLE001 - any decoding error means the same: it is invalid
        text = clean_line(str(error.__cause__ or error), 1_000)
        raise RequestError(f"the request does not validate: {text}") from None
    return decoded if isinstance(decoded, kind) else None
