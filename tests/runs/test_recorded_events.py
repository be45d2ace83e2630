"""What the audit says of what happened to a run, and who did it.

Compaction, failover, steer and approval are read from the audit where they are tested.
"""

import asyncio
import getpass

import pytest
from temporalio.client import Client

from executus import Reason, Status
from executus.models.registry import Models
from executus.models.scripted import Scripted, call, hang, say
from executus.plan import Price
from executus.tools import tool

from .command import command
from .kit import assert_closed_once, kit


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def events(k, run_id: str, name: str) -> list[tuple[str, dict]]:
    """Summary and content of each event of that name."""
    return [
        (row.body["summary"], {key: kept["value"] for key, kept in row.body["content"].items()})
        for row in await k.audit.rows(run_id)
        if (row.kind, row.name) == ("event", name)
    ]


async def working(k, **fields):
    """A run in the middle of its first model call."""
    handle = await k.start([hang()], **fields)
    while (await k.runs.state(handle.id)).steps_total == 0:
        await asyncio.sleep(0.02)
    return handle


async def stopped(k, handle) -> tuple[str, dict]:
    """The one stop of a run, once it has ended; its result says the same."""
    out = await k.outcome(handle.id)
    await assert_closed_once(k, out)
    (stop,) = await events(k, handle.id, "stop")
    assert out.result.error == stop[0]
    return stop


@pytest.mark.parametrize("how", ["named", "unnamed", "native"])
async def test_the_audit_says_who_cancelled_and_why(env, how):
    async with kit(env) as k:
        handle = await working(k)
        if how == "native":
            await handle.cancel(reason="enough")
        else:
            await k.runs.cancel(handle.id, "enough", by="bob\n" if how == "named" else "")
        text, content = await stopped(k, handle)
    assert (text, content["by"]) == {
        "named": ("cancelled by bob: enough", "bob"),
        "unnamed": ("cancelled: enough", "unknown, signal"),
        "native": ("cancelled: enough", "unknown, native cancel"),
    }[how]
    assert content["reason"] == ("cancel_request" if how == "native" else "cancel_signal")


@pytest.mark.parametrize("how", ["signal", "native"])
async def test_a_secret_in_a_reason_shows_nowhere(env, how):
    secret = "sk-canary-0123456789abcdefghij"
    async with kit(env) as k:
        handle = await working(k)
        if how == "native":
            await handle.cancel(reason=f"the key\n{secret} leaked{'!' * 9_000}")
        else:
            await k.runs.cancel(handle.id, f"the key\n{secret} leaked{'!' * 900}", by="ann")
        error = (await k.outcome(handle.id)).result.error
        assert "leaked" in error
        assert secret not in error
        assert "\n" not in error
        assert len(error) < 600
        assert secret not in str(await events(k, handle.id, "stop"))


async def test_the_command_cancels_in_the_name_of_its_user(env):
    address = env.client.service_client.config.target_host
    client = await Client.connect(address)
    async with kit(env, client=client) as k:
        handle = await working(k)
        code, out = await command(address, "cancel", handle.id, "too dear", "--wait")
        assert (code, out) == (0, f"{handle.id}: cancelled/cancel_signal\n")
        me = getpass.getuser()
        text, content = await stopped(k, handle)
        assert (text, content["by"]) == (f"cancelled by {me}: too dear", me)
        code, out = await command(address, "cancel", handle.id)
        assert code == 2, "it has ended"
        assert f"run `{handle.id}` has ended; its result: executus run --id {handle.id}" in out
        other = await working(k)
        code, out = await command(address, "cancel", other.id, "--as", "ann")
        assert (code, out) == (0, f"{other.id}: asked to stop\n")
        assert (await stopped(k, other))[0] == "cancelled by ann: no reason given"


async def test_the_deadline_stops_runs_in_its_own_name(env):
    async with kit(env) as k:
        out = await k.run([hang()], max_runtime=5)
        assert out.result.reason is Reason.DEADLINE
        ((text, content),) = await events(k, out.result.run_id, "stop")
        assert (text, content["by"]) == (out.result.error, "deadline")


async def test_a_limit_and_a_nudge_are_recorded(env):
    async with kit(env, tools=[add]) as k:
        limits = {"tokens": 300, "max_output_tokens": 290}
        out = await k.run([say("never")], limits=limits, prompt="word " * 400)
        assert out.result.reason is Reason.TOKEN_LIMIT
        ((text, _),) = await events(k, out.result.run_id, "limit")
        assert text == out.result.error
        again = [call("add", a=1, b=1)] * 2
        out = await k.run([*again, say("ok")], tools=("add",))
        assert (out.result.status, out.result.output) == (Status.OK, "ok")
        ((text, _),) = await events(k, out.result.run_id, "nudge")
        assert text


async def test_who_raised_a_limit_is_recorded(env):
    client = await Client.connect(env.client.service_client.config.target_host)
    async with kit(env, tools=[add], client=client) as k:
        handle = await working(k, limits={"tokens": 50_000})
        await k.runs.raise_limits(handle.id, tokens=60_000, by="ann")
        await k.runs.cancel(handle.id)
        await stopped(k, handle)
        ((text, content),) = await events(k, handle.id, "limits_raised")
        assert content["by"] == "ann"
        assert text.startswith("limits raised by ann: 60000 tokens")


async def test_the_opening_names_the_tools_that_were_granted_and_the_prices_that_hold(env):
    price = Price(input=1_000_000, output=4_000_000, version="ours 7")
    models = Models({}, providers=[Scripted({"s": [say("ok")]})], prices={"scripted/s": price})
    async with kit(env, tools=[add], models=models) as k:
        out = await k.run(None, model_tier="scripted/s", tools=("add",))
        (opening,) = [row for row in await k.audit.rows(out.result.run_id) if row.entry == "open"]
        assert ["add", add.definition(65_536).digest, "pure"] in opening.body["tools"]
        assert opening.body["models"] == ["scripted/s"]
        assert opening.body["prices"]["scripted/s"]["version"] == "ours 7"
        assert opening.body["prices"]["scripted/s"]["input"] == 1_000_000


async def test_a_call_that_a_cancel_cut_off_is_charged(env):
    async with kit(env) as k:
        handle = await working(k, caller_id="cut", prompt="word " * 400)
        await k.runs.cancel(handle.id)
        await stopped(k, handle)
        uses = await k.budget.show("caller:cut")
        [use] = [use for use in uses if (use.window, use.currency) == ("total", "tokens")]
        assert use.settled >= 400, "what was sent, at the least"
        assert use.reserved == 0
