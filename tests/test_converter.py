"""The converter: the bytes of Temporal's own, parts made once, one plan for all that have it."""

import gc
import weakref
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError
from temporalio.contrib.pydantic import PydanticPayloadConverter

from executus.contracts import RunKey
from executus.converter import SharedConverter
from executus.data import json_bytes
from executus.limits import Defaults
from executus.message import ImagePart, Message, TextPart
from executus.plan import ModelTarget, Resolved, RunPlan
from executus.request import RunRequest
from executus.result import RunResult
from executus.status import Status


def resolved(name: str = "a") -> Resolved:
    target = ModelTarget(spec="p/m", context_window=10)
    plan = RunPlan(agent_id=name, agent_name=name, targets=(target,), bounds=Defaults())
    return Resolved(plan=plan, wired=("audit",))


@pytest.mark.parametrize(
    "value",
    [None, b"bytes", "text", 1.5, [1, "a"], {"a": None}, RunKey(run_id="r", workflow_run_id="w")],
    ids=str,
)
def test_values_are_written_and_read_as_by_temporals_own(value):
    ours, theirs = SharedConverter(), PydanticPayloadConverter()
    payloads = ours.to_payloads([value])
    assert payloads == theirs.to_payloads([value])
    hint = [type(value)]
    assert ours.from_payloads(payloads, hint) == theirs.from_payloads(payloads, hint) == [value]


def test_a_message_keeps_its_parts():
    ours = SharedConverter()
    message = Message.user("hello")
    assert ours.from_payload(ours.to_payload(message), Message) == message


def test_runs_of_one_plan_share_it_while_there_are_any():
    writer = SharedConverter()
    payload, other = writer.to_payload(resolved()), writer.to_payload(resolved("b"))
    first = SharedConverter().from_payload(payload, Resolved)
    second = SharedConverter().from_payload(payload, Resolved)
    assert first == second == resolved()
    assert first.plan is second.plan
    assert SharedConverter().from_payload(other, Resolved) == resolved("b")
    kept = weakref.ref(first.plan)
    del first, second
    gc.collect()
    assert kept() is None


def test_what_a_run_of_a_later_version_tells_is_read_and_what_it_is_given_is_not():
    now = datetime.now(UTC)
    told = {
        "run_id": "r",
        "status": "ok",
        "reason": "answer",
        "started_at": now,
        "ended_at": now,
        "what_a_later_version_adds": 1,
    }
    ours = SharedConverter()
    result = ours.from_payload(ours.to_payload(told), RunResult)
    assert (result.run_id, result.status) == ("r", Status.OK)
    with pytest.raises(ValidationError, match="what_a_later_version_adds"):
        ours.from_payload(ours.to_payload(told), RunRequest)


def test_a_refusal_is_read_as_it_is():
    ours = SharedConverter()
    nothing = Resolved(wired=())
    assert ours.from_payload(ours.to_payload(nothing), Resolved) == nothing


@pytest.mark.parametrize(
    "text", ["plain", "漢" * 1_000, '"quotes" and \\', "\x1b[0m\n\t\x7f", "🙂"]
)
def test_bytes_are_those_of_the_payload(text):
    message = Message(role="user", parts=(TextPart(text=text), image()))
    (payload,) = SharedConverter().to_payloads([message])
    assert json_bytes(message) == len(payload.data)
    (payload,) = SharedConverter().to_payloads([text])
    assert json_bytes(text) == len(payload.data)


def image() -> ImagePart:
    return ImagePart(mime="image/png", data=bytes(range(256)))
