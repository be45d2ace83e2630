"""Three levels of agents, and each ending of a level at each level: what the others make of it."""

import asyncio

import pytest

from executus import Limits, Reason, Status
from executus.models.scripted import call, hang, say

from .kit import kit
from .test_delegation import agent, family, start

LEVELS = ("top", "mid", "leaf")
ASK = {
    "top": call("agent__mid", prompt="do the middle"),
    "mid": call("agent__leaf", prompt="do the leaf"),
    "leaf": call("nothing_of_that_name"),
}
"""First turns: two hand work down, the last one has nobody to hand it to."""


def agents(level: str, **fields):
    """The family; `level` has bounds of its own."""
    small = Limits(max_output_tokens=300)
    own = {name: fields if name == level else {} for name in LEVELS}
    below = {"top": ("mid",), "mid": ("leaf",), "leaf": ()}
    return [agent(n, sub_agents=below[n], **({"limits": small} | own[n])) for n in LEVELS]


def scripts(level: str, last):
    """Everybody does their part; `level` ends with `last`."""
    return {name: [ASK[name], last if name == level else say(name)] for name in LEVELS}


async def ends(k, handle, level: str, status: Status, reason: Reason) -> None:
    """`level` ended that way, everybody else is ok, and every one is recorded and settled once."""
    found = await family(k, await k.outcome(handle.id))
    assert [o.result.run_id.count("/") for o in found] == [0, 1, 2]
    for name, out in zip(LEVELS, found, strict=True):
        expected = (status, reason) if name == level else (Status.OK, Reason.ANSWER)
        assert (out.result.status, out.result.reason) == expected, (name, out.result.error)
    above = LEVELS.index(level) - 1
    if above >= 0:
        step = found[above].result.steps[1]
        assert step.status == "error"
        assert status.value in step.summary, "the level above is told"
    assert found[0].result.descendants == 2
    used = [out.result.usage.total_tokens for out in found]
    assert used == sorted(used, reverse=True), "what is used below counts above"


@pytest.mark.parametrize("how", [Reason.CANCEL_SIGNAL, Reason.CANCEL_REQUEST])
@pytest.mark.parametrize("level", LEVELS)
async def test_a_cancel_at_each_level_ends_that_level_alone(env, level, how):
    async with kit(env, agents=agents(level)) as k:
        hung = asyncio.Event()

        def reached(request):
            hung.set()
            return hang()

        k.scripts.update(scripts(level, reached))
        handle = await start(k)
        await hung.wait()
        run_id = handle.id
        for _ in range(LEVELS.index(level)):
            run_id = (await k.runs.state(run_id)).steps[1].child_run_id
        if how is Reason.CANCEL_SIGNAL:
            await k.runs.cancel(run_id, "enough")
        else:  # as the Temporal UI does it
            await k.client.get_workflow_handle(run_id).cancel()
        await ends(k, handle, level, Status.CANCELLED, how)


@pytest.mark.parametrize("level", LEVELS)
async def test_a_timeout_at_each_level_ends_that_level_alone(env, level):
    async with kit(env, agents=agents(level, max_runtime=3)) as k:
        k.scripts.update(scripts(level, hang()))
        await ends(k, await start(k), level, Status.TIMEOUT, Reason.DEADLINE)


LONG = say("word " * 500)
"""More to read than what is left of 1,500 tokens."""
SPENT = {
    "top": {"top": [ASK["top"], say("never")], "mid": [ASK["mid"], LONG], "leaf": [say("leaf")]},
    "mid": {"top": [ASK["top"], say("top")], "mid": [ASK["mid"], say("never")], "leaf": [LONG]},
    "leaf": {
        "top": [ASK["top"], say("top")],
        "mid": [ASK["mid"], say("mid")],
        "leaf": [call("nothing_of_that_name", text="word " * 900), say("never")],
    },
}


@pytest.mark.parametrize("level", LEVELS)
async def test_a_spent_budget_at_each_level_ends_that_level_alone(env, level):
    limits = Limits(tokens=1_500, max_output_tokens=300)
    async with kit(env, agents=agents(level, limits=limits)) as k:
        k.scripts.update(SPENT[level])
        await ends(k, await start(k), level, Status.BUDGET_EXCEEDED, Reason.TOKEN_LIMIT)
