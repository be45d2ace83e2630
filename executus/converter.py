"""Temporal's pydantic converter, made once per process and not once per run.

Temporal makes a converter for every run, and each would build its own serialiser and type adapters.
And a plan is one value for all runs that have the same: with its bounds, tools and schemas it is a
large part of what a waiting run keeps in memory (docs/performance.md).
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Self, TypeGuard
from weakref import WeakValueDictionary

from pydantic_core import to_json
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter, PydanticPayloadConverter
from temporalio.converter import (
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    SerializationContext,
)

from executus.data import Data
from executus.digest import digest
from executus.plan import Resolved, RunPlan
from executus.result import RunResult
from executus.state import LiveState

JSON = (Data, str)
"""What no other part of the converter takes."""
TOLD = frozenset({RunResult, LiveState})
"""What a run tells of itself. While workers are upgraded a parent and its child, or a run and who
reads it, may be of two versions: what a later one adds is left out here, and no error."""
ENCODING = {"encoding": b"json/plain"}


class SharedConverter(PydanticPayloadConverter):
    """Reads and writes what `PydanticPayloadConverter` does, and reads what later versions tell."""

    def __init__(self) -> None:
        self.converters = _parts()

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """See base class. What is surely JSON is not offered to the four parts before that."""
        payloads: list[Payload] = []
        for value in values:
            if not isinstance(value, JSON):
                return super().to_payloads(values)
            payloads.append(Payload(metadata=ENCODING, data=to_json(value)))
        return payloads

    def with_context(self, context: SerializationContext) -> Self:
        """See base class. No part of it takes one."""
        del context
        return self


@cache
def _parts() -> dict[bytes, EncodingPayloadConverter]:
    own = _Json()
    standard = DefaultPayloadConverter.default_encoding_payload_converters
    parts = [own if part.encoding == own.encoding else part for part in standard]
    return {part.encoding.encode(): part for part in parts}


class _Json(PydanticJSONPlainPayloadConverter):
    def __init__(self) -> None:
        super().__init__()
        self._plans: WeakValueDictionary[str, RunPlan] = WeakValueDictionary()

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:  # noqa: ANN401 - as in the base
        if not _is_data(type_hint):
            return super().from_payload(payload, type_hint)
        if type_hint in TOLD:
            return type_hint.model_validate_json(payload.data, extra="ignore")
        value = type_hint.model_validate_json(payload.data)
        if not isinstance(value, Resolved) or value.plan is None:
            return value
        # One for all runs that have it now: it is frozen, and nobody changes the schemas in it.
        plan = self._plans.setdefault(digest(payload.data), value.plan)
        return value.model_copy(update={"plan": plan})


def _is_data(hint: object) -> TypeGuard[type[Data]]:
    return isinstance(hint, type) and issubclass(hint, Data)
