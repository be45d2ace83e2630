"""Steer: from people, tools and updates, each message said once before the next model call."""

import asyncio

import pytest
from temporalio.client import Client
from temporalio.service import RetryConfig

from executus import Reason, Status
from executus.errors import UserError
from executus.limits import Defaults
from executus.models.scripted import call, calls, hang, say
from executus.steer import MAX_STEER, TOOL_STEER, SteerReceipt
from executus.tools import ToolContext, ToolRetry, tool

from .command import command
from .gate import Gate
from .kit import kit
from .test_long_runs import chain

TRIES = []


@tool(effect="pure")
async def look() -> str:
    """Look."""
    return "seen"


@tool(effect="pure")
async def advise(ctx: ToolContext, text: str) -> str:
    """Say something besides the result."""
    ctx.steer(text)
    ctx.steer("   ")
    return "advised"


@tool(effect="pure")
async def chatter(ctx: ToolContext) -> str:
    """Say too much."""
    for n in range(TOOL_STEER + 1):
        ctx.steer(f"chat {n}")
    return "never"


@tool(effect="idempotent", attempts=3)
async def stammer(ctx: ToolContext) -> str:
    """Say it at each of two attempts."""
    TRIES.append(1)
    ctx.steer("stammered")
    if len(TRIES) == 1:
        raise ToolRetry("again")
    return "said"


class Ear:
    """A model that remembers what users said to it at each turn, then follows `script`."""

    def __init__(self, *script) -> None:
        self.script = script
        self.heard: list[list[str]] = []

    def __call__(self, request):
        said = [m.message.text for m in request.messages if m.message.role == "user"]
        self.heard.append(said[1:])
        done = sum(m.message.role == "assistant" for m in request.messages)
        return self.script[min(done, len(self.script) - 1)]


async def test_the_update_answers_with_the_turn_that_hears_the_message(env):
    ear, gate = Ear(call("look"), say("ok")), Gate("tool.look")
    async with kit(env, tools=[look], interceptors=[gate]) as k:
        handle = await k.start(ear, tools=("look",))
        await gate.entered.wait()
        waiting = asyncio.create_task(k.runs.steer_and_wait(handle.id, "look left", by="ann"))
        while not await pending(handle):
            await asyncio.sleep(0.02)
        assert not waiting.done(), "it answers on delivery, not on arrival"
        gate.open.set()
        receipt = await waiting
        assert (receipt.delivered, receipt.iteration) == (True, 2)
        out = await k.outcome(handle.id)
        assert out.result.started_at < receipt.at <= out.result.ended_at
        assert ear.heard == [[], ["look left"]]
        assert await events(k, handle.id) == [("look left", "ann", "caller")]
        assert out.activities.count("executus.model") == 2
        with pytest.raises(Exception, match="has ended; its result: executus run --id"):
            await k.runs.steer_and_wait(handle.id, "too late")


async def pending(handle) -> bool:
    """Whether an update was accepted."""
    return any(
        e.HasField("workflow_execution_update_accepted_event_attributes")
        for e in (await handle.fetch_history()).events
    )


async def events(k, run_id):
    """What the audit says was steered: text, who, from where."""
    bodies = [e.body for e in await k.audit.rows(run_id) if e.name == "steer"]
    return [
        (b["summary"], *(b["content"][name]["value"] for name in ("by", "source"))) for b in bodies
    ]


async def test_a_message_that_no_model_will_hear_is_answered_so(env):
    gate = Gate("tool.look")
    async with kit(env, tools=[look], interceptors=[gate]) as k:
        handle = await k.start([call("look"), hang()], tools=("look",))
        await gate.entered.wait()
        waiting = asyncio.create_task(k.runs.steer_and_wait(handle.id, "look left"))
        while not await pending(handle):
            await asyncio.sleep(0.02)
        await k.runs.cancel(handle.id, "enough")
        receipt = await waiting
        assert (receipt.delivered, receipt.why) == (False, "the run ended first")
        assert (await k.outcome(handle.id)).result.reason is Reason.CANCEL_SIGNAL


async def test_what_was_said_too_late_for_any_model_call_is_in_the_audit(env):
    gate = Gate("tool.look")
    async with kit(env, tools=[look], interceptors=[gate]) as k:
        handle = await k.start([call("look"), hang()], tools=("look",))
        await gate.entered.wait()
        await k.runs.steer(handle.id, "look left", by="ann")
        await k.runs.cancel(handle.id, "enough")
        assert (await k.outcome(handle.id)).result.reason is Reason.CANCEL_SIGNAL
        rows = [e.body for e in await k.audit.rows(handle.id) if e.name == "steer_dropped"]
        assert [row["summary"] for row in rows] == ["look left"]
        said = {name: rows[0]["content"][name]["value"] for name in ("by", "source", "why")}
        assert said == {"by": "ann", "source": "caller", "why": "the run ended first"}


async def test_what_was_said_to_a_run_that_never_began_is_answered_and_in_the_audit(env):
    gate = Gate("executus.resolve")
    async with kit(env, interceptors=[gate]) as k:
        handle = await k.start([say("never")])
        await gate.entered.wait()
        waiting = asyncio.create_task(k.runs.steer_and_wait(handle.id, "look left", by="ann"))
        while not await pending(handle):
            await asyncio.sleep(0.02)
        await k.runs.cancel(handle.id, "enough")
        assert await waiting == SteerReceipt(delivered=False, why="the run ended first")
        out = await k.outcome(handle.id)
        assert out.activities == ["executus.resolve", "executus.audit.close"]
        rows = [e.body for e in await k.audit.rows(handle.id) if e.name == "steer_dropped"]
        assert [(r["summary"], r["content"]["by"]["value"]) for r in rows] == [("look left", "ann")]


async def test_the_update_answers_for_the_closing_answer_too(env):
    gate = Gate("executus.model")
    async with kit(env, tools=[look], interceptors=[gate]) as k:
        ear = Ear(call("look"), say("en bref"))
        handle = await k.start(ear, tools=("look",), max_iterations=1)
        await gate.entered.wait()
        waiting = asyncio.create_task(k.runs.steer_and_wait(handle.id, "in French"))
        while not await pending(handle):
            await asyncio.sleep(0.02)
        gate.open.set()
        receipt = await waiting
        assert (receipt.delivered, receipt.iteration) == (True, 1)
        out = await k.outcome(handle.id)
        assert [s.id for s in out.result.steps] == ["m1", "m1.closing"]
        assert "in French" in ear.heard[-1]


async def test_a_full_queue_and_an_empty_message_are_refused(env):
    gate = Gate("tool.look")
    async with kit(env, tools=[look], interceptors=[gate]) as k:
        ear = Ear(call("look"), say("ok"))
        handle = await k.start(ear, tools=("look",))
        await gate.entered.wait()
        with pytest.raises(UserError, match="the text is empty"):
            await k.runs.steer_and_wait(handle.id, "  ")
        for n in range(MAX_STEER):
            await handle.signal("steer", f"{n}")
        with pytest.raises(UserError, match=f"{MAX_STEER} messages wait already"):
            await k.runs.steer_and_wait(handle.id, "one more")
        gate.open.set()
        out = await k.outcome(handle.id)
        assert out.result.status is Status.OK
        assert ear.heard == [[], [f"{n}" for n in range(MAX_STEER)]]


async def test_more_who_wait_than_the_server_takes_at_once_are_all_heard_once(env):
    """Temporal takes ten updates of a run at a time; those beyond are asked again by their id."""
    target = env.client.service_client.config.target_host
    impatient = RetryConfig(max_retries=1, max_elapsed_time_millis=50)
    client = await Client.connect(target, retry_config=impatient)
    texts, gate = {f"{n}" for n in range(14)}, Gate("tool.look")
    heard: list[str] = []

    async def until_all_are_heard(request):
        heard[:] = [m.message.text for m in request.messages if m.message.role == "user"][1:]
        await asyncio.sleep(0.1)
        return say("ok") if texts <= set(heard) else call("look")

    async with kit(env, client=client, tools=[look], interceptors=[gate]) as k:
        fields = {"max_iterations": 200, "limits": {"same_tool_calls": 0}}
        handle = await k.start(until_all_are_heard, tools=("look",), **fields)
        await gate.entered.wait()
        waiting = [asyncio.create_task(k.runs.steer_and_wait(handle.id, text)) for text in texts]
        while not await pending(handle):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)  # 0.5 s: those beyond the tenth have been refused by now
        gate.open.set()
        assert all(receipt.delivered for receipt in await asyncio.gather(*waiting))
        assert (await k.runs.result(handle.id)).status is Status.OK
        assert sorted(heard) == sorted(texts)


async def test_a_message_that_meets_the_handover_is_said_once_also_when_it_is_sent_again(env):
    gate = Gate("executus.audit.flush")
    turns = [call("look") for _ in range(30)]
    ear = Ear(*turns, say("ok"))
    defaults = Defaults(history_events=60, max_runtime=600, max_iterations=60, same_tool_calls=0)
    async with kit(env, tools=[look], interceptors=[gate], defaults=defaults) as k:
        handle = await k.start(ear, tools=("look",))
        await gate.entered.wait()
        first = asyncio.create_task(k.runs.steer_and_wait(handle.id, "look left", message_id="m-1"))
        while not await pending(handle):
            await asyncio.sleep(0.02)
        gate.open.set()
        assert (await first).delivered
        while (
            len({e.run_id async for e in k.client.list_workflows(f"WorkflowId='{handle.id}'")}) < 2
        ):
            await asyncio.sleep(0.05)
        again = await k.runs.steer_and_wait(handle.id, "look left", message_id="m-1")
        assert (again.delivered, again.why) == (True, "delivered before")
        assert (await k.runs.result(handle.id)).status is Status.OK
        assert ear.heard[-1] == ["look left"]
        assert len(await chain(k, handle.id)) >= 2


async def test_what_tools_say_is_delivered_once_with_their_results(env):
    TRIES.clear()
    tools = [advise, chatter, stammer]
    ear = Ear(
        calls(("advise", {"text": "mind the gap"}), ("stammer", {}), ("chatter", {})), say("ok")
    )
    async with kit(env, tools=tools) as k:
        out = await k.run(ear, tools=tuple(t.name for t in tools), max_runtime=600)
        assert out.result.status is Status.OK
        chat = [f"chat {n}" for n in range(TOOL_STEER)]
        assert sorted(ear.heard[1]) == sorted(["mind the gap", "stammered", *chat])
        assert ("mind the gap", "", "tool.advise") in await events(k, out.result.run_id)
        failed = next(s for s in out.result.steps if s.kind == "tool.chatter")
        assert (failed.status, "at most" in failed.summary) == ("error", True)


async def test_the_command_says_it_under_a_name_and_waits(env):
    address = env.client.service_client.config.target_host
    client = await Client.connect(address)
    ear, gate = Ear(call("look"), say("ok")), Gate("tool.look")
    async with kit(env, client=client, tools=[look], interceptors=[gate]) as k:
        handle = await k.start(ear, tools=("look",))
        await gate.entered.wait()
        code, out = await command(address, "steer", handle.id, "first", "--as", "bea")
        assert (code, out) == (0, f"{handle.id}: sent\n")
        waiting = asyncio.create_task(
            command(address, "steer", handle.id, "second", "--wait", "--as", "cy")
        )
        while not await pending(handle):
            await asyncio.sleep(0.05)
        gate.open.set()
        assert await waiting == (0, f"{handle.id}: delivered with model turn 2\n")
        await k.runs.result(handle.id)
        assert [(text, by) for text, by, _ in await events(k, handle.id)] == [
            ("first", "bea"),
            ("second", "cy"),
        ]
        for late in (("late",), ("late", "--wait")):
            code, out = await command(address, "steer", handle.id, *late)
            assert (code, f"run `{handle.id}` has ended" in out) == (2, True), out
