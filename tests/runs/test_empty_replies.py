"""Empty replies: asked again once, never an answer, never another step's words in the record."""

import pytest

from executus import Reason, Status
from executus.models.scripted import call, calls, say
from executus.ports import Ports
from executus.stores.memory import MemoryAudit, MemoryBudget
from executus.tools import tool

from .kit import assert_closed_once, kit


@tool(effect="pure")
async def look() -> str:
    """Look."""
    return "seen"


def in_turn(*replies):
    """A script that follows its own count: an empty reply is no message that could be counted."""
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


@pytest.fixture
async def k(env):
    async with kit(env, tools=[look]) as made:
        yield made


@pytest.mark.parametrize(
    "replies",
    [
        (call("nosuch"), say(""), say("")),
        (call("run_status"), say(""), say("")),
    ],
)
async def test_a_run_whose_last_reply_is_empty_is_recorded_at_once(k, replies):
    """A call that nobody serves has no row of its own: the close asks the workflow for it."""
    out = await k.run(in_turn(*replies), tools=("look",))
    assert (out.result.status, out.result.reason) == (Status.ERROR, Reason.MODEL_INCOMPLETE)
    assert out.result.warnings == ()
    assert out.activities.count("executus.audit.close") == 1
    await assert_closed_once(k, out)


async def test_an_empty_closing_answer_is_recorded_at_once(k):
    script = in_turn(call("nosuch"), call("look"), say(""))
    out = await k.run(script, tools=("look",), max_iterations=2)
    assert (out.result.status, out.result.reason) == (Status.ERROR, Reason.MAX_ITERATIONS)
    assert out.result.warnings == ()
    await assert_closed_once(k, out)


class Away(MemoryAudit):
    """A store that is away until the run closes."""

    away = True

    async def record(self, run_id, rows):
        if self.away:
            raise ConnectionError("away")
        await super().record(run_id, rows)


async def test_a_late_row_of_an_empty_reply_does_not_repeat_what_we_said(env):
    audit = Away()
    ports = Ports(audit=audit, budget=MemoryBudget(unlimited_by_default=True))
    async with kit(env, tools=[look], ports=ports) as k:

        def talk(request):
            if len(request.messages) == 1:
                return say("")
            audit.away = False
            return say("fin")

        out = await k.run(talk, tools=("look",))
        assert out.result.output == "fin"
        rows = {e.key.partition("#")[0]: e.body for e in await audit.rows(out.result.run_id)}
        assert "empty" not in str(rows["m1"])
        assert "fin" in str(rows["m2"])


async def test_an_aside_beside_a_call_is_no_answer(k):
    script = in_turn(calls(("look", {}), text="Let me look."), say(""), say("It is blue."))
    out = await k.run(script, tools=("look",))
    assert (out.result.status, out.result.output) == (Status.OK, "It is blue.")
    assert out.activities.count("executus.model") == 3
    await assert_closed_once(k, out)


async def test_two_empty_replies_far_apart_are_not_two_in_a_row(k):
    script = in_turn(say(""), call("look"), call("look"), say(""), say("done"))
    out = await k.run(script, tools=("look",))
    assert (out.result.status, out.result.output) == (Status.OK, "done")
    await assert_closed_once(k, out)
