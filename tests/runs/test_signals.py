"""Signals that nobody could have refused: of the wrong kind, too many arguments, none at all."""

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from executus import Reason, Status
from executus.models.scripted import call, say
from executus.tools import tool

from .gate import Gate
from .kit import assert_closed_once, kit

NOT_JSON = RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"not json"))


@tool(effect="pure")
async def look() -> str:
    """Look."""
    return "seen"


async def signalled(env, name: str, said: list[object]):
    """A run that gets a signal while its tool works."""
    gate = Gate("tool.look")
    async with kit(env, tools=[look], interceptors=[gate]) as k:
        handle = await k.start([call("look"), say("done")], tools=("look",))
        await gate.entered.wait()
        await handle.signal(name, args=said)
        gate.open.set()
        out = await k.outcome(handle.id)
        await assert_closed_once(k, out)
        events = [e for e in await k.audit.rows(handle.id) if e.kind == "event"]
    return out, {event.name: event.body for event in events}


@pytest.mark.parametrize(
    ("said", "came"),
    [
        ([], "nothing"),
        ([None], "NoneType"),
        ([{"text": "x"}], "dict"),
        (["x", 7], "str, int"),
        (["a", "b", "c"], "str, str, str"),
    ],
)
async def test_a_steer_of_another_kind_is_noted_and_not_said(env, said, came):
    out, events = await signalled(env, "steer", said)
    assert (out.result.status, out.result.output) == (Status.OK, "done")
    assert out.activities.count("executus.model") == 2
    assert events["steer_ignored"]["summary"] == (
        "a steer signal takes one text and, optionally, who says it"
    )
    assert events["steer_ignored"]["content"]["why"]["value"] == f"it came with {came}"


async def test_a_steer_from_nobody_is_said(env):
    out, events = await signalled(env, "steer", ["look left", None])
    assert out.result.status is Status.OK
    assert events["steer"]["summary"] == "look left"


@pytest.mark.parametrize("said", [[], [None], [{"reason": "x"}], ["a", "b", "c"], ["x", 7]])
async def test_a_cancel_of_any_kind_stops_the_run(env, said):
    out, events = await signalled(env, "cancel", said)
    assert (out.result.status, out.result.reason) == (Status.CANCELLED, Reason.CANCEL_SIGNAL)
    assert out.close == "COMPLETED"
    assert events["stop"]["summary"] == "cancelled: no reason given"


@pytest.mark.parametrize("name", ["steer", "cancel"])
async def test_a_signal_that_does_not_decode_changes_nothing(env, name):
    out, events = await signalled(env, name, [NOT_JSON])
    assert (out.result.status, out.result.output) == (Status.OK, "done")
    assert events == {}
