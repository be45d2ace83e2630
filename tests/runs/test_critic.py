"""Critics, on the server: silence is a model call that waits to be tried again, so time skips."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from executus import Reason, RunnableAgent, Status
from executus.critic_view import CriticDecision
from executus.limits import Defaults
from executus.models.scripted import Say, call, calls, fail, say
from executus.timeouts import OUTAGE_SECONDS, STOP_SECONDS
from executus.tools import ToolContext, tool
from executus.usage import Usage

from .kit import assert_closed_once, kit
from .test_long_runs import chain

OWN = {"kind": "own"}


class Own:
    """A host's critic that decides as it is told, and remembers what it was shown."""

    def __init__(self, *decisions, watching: bool = True) -> None:
        self.decisions = decisions
        self.watching = watching
        self.views = []
        self.subjects = []

    async def watches(self, subject):
        self.subjects.append(subject)
        return self.watching

    async def decide(self, view):
        self.views.append(view)
        decision = self.decisions[min(len(self.views), len(self.decisions)) - 1]
        if isinstance(decision, BaseException):
            raise decision
        if callable(decision):
            return await decision(view)
        return decision


def silent(seconds: float, then):
    """A turn that brings nothing for so long."""
    return fail("rate_limited", retry_after=seconds, then=then)


class Hang(Interceptor):
    """A model step that is tried again for as long as the run may take, and brings nothing."""

    def __init__(self, step_id: str = "m1") -> None:
        self.step_id = step_id

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Hanging(next, self.step_id)


class _Hanging(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, step_id: str) -> None:
        super().__init__(next)
        self.step_id = step_id

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        if info.activity_type == "executus.model" and input.args[0].step_id == self.step_id:
            waited = info.current_attempt_scheduled_time - info.scheduled_time
            left = info.schedule_to_close_timeout - waited
            # Up to its own time-out, which is 5 s after the last possible deadline of the run.
            delay = max(left - timedelta(seconds=6), timedelta(seconds=5))
            raise ApplicationError("nothing yet", next_retry_delay=delay)
        return await super().execute_activity(input)


def took(result) -> float:
    return (result.ended_at - result.started_at).total_seconds()


async def events(k, run_id: str, name: str) -> list[str]:
    return [e.body["summary"] for e in await k.audit.rows(run_id) if e.name == name]


@tool(effect="pure")
async def look() -> str:
    """Look."""
    return "seen"


@tool(effect="pure", timeout=30)
async def dig(ctx: ToolContext, seconds: float, tell: bool) -> str:
    """Take long, and tell of it or not."""
    for n in range(int(seconds * 5)):
        if tell:
            ctx.heartbeat(f"{n} done")
        await asyncio.sleep(0.2)
    return "dug"


@tool(requires_approval=True)
async def send() -> str:
    """Send it."""
    return "sent"


# -- the watchdog ------------------------------------------------------------------------------


async def test_two_stalled_runs_each_get_their_extension(env):
    async with kit(env) as k:
        script = [silent(1_500, say("slow but done"))]
        outs = await asyncio.gather(*(k.run(script, max_runtime=600, critic={}) for _ in range(2)))
        for out in outs:
            assert (out.result.status, out.result.output) == (Status.OK, "slow but done")
            assert 1_500 <= took(out.result) < 1_600, "past max_runtime and past the backstop"
            assert await events(k, out.result.run_id, "extended") != []
            assert out.activities.count("executus.critic") == 1
            assert [s.kind for s in out.result.steps] == ["model", "critic"]
            await assert_closed_once(k, out)


async def test_one_extension_and_then_the_backstop_ends_a_run_that_hangs(env):
    async with kit(env, interceptors=[Hang()]) as k:
        out = await k.run([say("never")], max_runtime=600, critic={})
        assert (out.result.status, out.result.reason) == (Status.TIMEOUT, Reason.DEADLINE)
        assert 1_800 <= took(out.result) < 1_810, "2 x 600 s and one extension of 600 s"
        assert out.close == "FAILED"
        await assert_closed_once(k, out)


async def test_a_run_that_works_slowly_is_extended_before_the_backstop_ends_it(env):
    async with kit(env, tools=[look]) as k:
        turns = [silent(400, call("look")) for _ in range(4)]
        limits = {"same_tool_calls": 0}
        fields = {"tools": ("look",), "max_runtime": 600, "limits": limits}
        out = await k.run([*turns, say("done")], critic={}, **fields)
        assert out.result.status is Status.OK
        assert 1_600 <= took(out.result) < 1_700
        (step,) = (s for s in out.result.steps if s.kind == "critic")
        assert "extend 600 s" in step.summary
        state = await k.runs.state(out.result.run_id)
        assert (state.critic, state.extensions) == ("watchdog", 1)


async def test_an_idle_time_costs_one_timer_however_many_steps(env):
    async with kit(env, tools=[look]) as k:
        script = [*(call("look") for _ in range(12)), say("done")]
        out = await k.run(
            script, tools=("look",), max_iterations=20, critic={}, limits={"same_tool_calls": 0}
        )
        timers = [e for e in out.history.events if e.HasField("timer_started_event_attributes")]
        assert out.result.status is Status.OK
        assert len(timers) == 2, "the deadline's and the watch's"
        assert "executus.critic" not in out.activities


async def test_the_execution_timeout_follows_the_backstop_and_its_extensions(env):
    async with kit(env) as k:
        handle = await k.start([say("ok")], max_runtime=500, critic={"extensions": 2})
        await handle.result()
        first = (await handle.fetch_history()).events[0].workflow_execution_started_event_attributes
        allowance = Defaults().cleanup_seconds + STOP_SECONDS + OUTAGE_SECONDS
        assert first.workflow_execution_timeout.seconds == 1_000 + 2 * 500 + allowance
        run = await k.audit.run(handle.id)
        assert (run.deadline_at - run.started_at).total_seconds() > 1_000


async def test_the_carried_watch_gives_no_second_extension(env):
    defaults = Defaults(history_events=60, max_iterations=60, same_tool_calls=0)

    def script(request):
        done = sum(len(m.message.tool_calls) for m in request.messages)
        return silent(4, call("look")) if done == 0 else call("look")

    async with kit(env, tools=[look], defaults=defaults, interceptors=[Hang("m21")]) as k:
        # A short silence: the server's virtual clock runs ahead with every execution of a run.
        fields = {"tools": ("look",), "max_runtime": 600, "critic": {"idle_seconds": 3}}
        handle = await k.start(script, **fields)
        result = await k.runs.result(handle.id)
        assert result.reason is Reason.DEADLINE
        assert 1_800 <= took(result) < 1_810
        assert len(await chain(k, handle.id)) >= 2
        assert (await k.runs.state(handle.id)).extensions == 1


# -- a host's own ------------------------------------------------------------------------------


async def test_a_hung_run_is_killed_with_its_reason_in_result_and_audit(env):
    critic = Own(CriticDecision(kill="it hangs", extend=600, nudge="come on"))
    async with kit(env, critic=critic, interceptors=[Hang()]) as k:
        out = await k.run([say("never")], max_runtime=600, critic=OWN)
        assert (out.result.status, out.result.reason) == (Status.KILLED, Reason.CRITIC)
        assert out.result.error == "killed by the critic: it hangs"
        assert 600 <= took(out.result) < 610
        assert out.close == "FAILED"
        failure = out.history.events[-1].workflow_execution_failed_event_attributes.failure
        assert failure.application_failure_info.type == "executus.killed"
        assert await events(k, out.result.run_id, "extended") == [], (
            "a kill is nothing else besides"
        )
        run = await k.audit.run(out.result.run_id)
        assert (run.status, run.reason) == ("killed", "critic")
        (close,) = (e for e in await k.audit.rows(out.result.run_id) if e.entry == "close")
        assert "it hangs" in str(close.body["error"])
        (view,) = critic.views
        assert (view.cause, view.task, view.extensions_left) == ("idle", "do it", 1)
        assert view.work[0].name == "executus.model"
        assert view.work[0].seconds is None, "it waits to be tried again"
        assert view.work[0].failure == "nothing yet"
        assert [s.kind for s in view.state.steps] == ["model"]
        await assert_closed_once(k, out)


async def test_a_nudge_is_delivered_once_before_the_next_model_call(env):
    heard = []

    def listen(request):
        said = [m.message.text for m in request.messages if m.message.role == "user"]
        heard.append(said.count("[critic] look left"))
        turn = sum(m.message.role == "assistant" for m in request.messages)
        return (silent(700, call("look")), call("look"), say("ok"))[turn]

    critic = Own(CriticDecision(nudge="look left"), CriticDecision())
    async with kit(env, tools=[look], critic=critic) as k:
        out = await k.run(listen, tools=("look",), max_runtime=600, critic=OWN)
        assert out.result.status is Status.OK
        assert heard[-2:] == [1, 1], "once, and it stays in the conversation"
        assert heard[:-2] == [0] * len(heard[:-2])
        assert len(await events(k, out.result.run_id, "steer")) == 1


async def test_a_huge_raise_saturates(env):
    critic = Own(CriticDecision(raise_steps=10**30, extend=10**300))
    async with kit(env, tools=[look], critic=critic) as k:
        script = [silent(700, call("look")), *(call("look") for _ in range(3)), say("done")]
        fields = {"tools": ("look",), "max_iterations": 2, "limits": {"same_tool_calls": 0}}
        out = await k.run(script, max_runtime=600, critic=OWN, **fields)
        assert out.result.output == "done", "5 turns where 2 were allowed"
        state = await k.runs.state(out.result.run_id)
        assert state.max_iterations == 100_000
        assert (state.deadline_at - state.started_at).total_seconds() == 1_800


@pytest.mark.parametrize("kind", ["own", "nobody-knows"])
async def test_without_anybody_who_watches_max_runtime_is_the_cap(env, kind):
    critic = Own(CriticDecision(), watching=False) if kind == "own" else None
    async with kit(env, critic=critic, interceptors=[Hang()]) as k:
        out = await k.run([say("never")], max_runtime=600, critic={"kind": kind})
        assert out.result.reason is Reason.DEADLINE
        assert 600 <= took(out.result) < 610
        assert "nobody watches the run" in out.result.warnings[0]
        assert "executus.critic" not in out.activities
        await assert_closed_once(k, out)
    if critic is not None:
        (subject,) = critic.subjects
        assert (subject.kind, subject.agent_id, subject.max_runtime) == ("own", "tester", 600)


async def late(view) -> CriticDecision:
    await asyncio.sleep(60)
    return CriticDecision(kill="too late")


@pytest.mark.parametrize(
    "decision", [RuntimeError("boom sk-abcdefghijklmnopqrst"), late, "nonsense"]
)
async def test_a_critic_that_fails_changes_nothing(env, decision, monkeypatch):
    monkeypatch.setattr("executus.activities.critic.DECIDE_SECONDS", 0.2)
    critic = Own(decision if decision != "nonsense" else {"kill": "me"})
    async with kit(env, critic=critic, interceptors=[Hang()]) as k:
        out = await k.run([say("never")], max_runtime=600, critic=OWN)
        assert (out.result.status, out.result.reason) == (Status.TIMEOUT, Reason.DEADLINE)
        assert 1_200 <= took(out.result) < 1_210, "the old deadline rules"
        failed = await events(k, out.result.run_id, "critic_failed")
        assert failed
        assert "sk-abcdef" not in str(failed)
        assert {s.status for s in out.result.steps if s.kind == "critic"} == {"error"}
        await assert_closed_once(k, out)


async def test_a_silence_is_decided_on_once(env):
    critic = Own(CriticDecision())
    async with kit(env, critic=critic) as k:
        fields = {"max_runtime": 600, "critic": {**OWN, "idle_seconds": 100}}
        out = await k.run([silent(1_150, say("done"))], **fields)
        assert out.result.status is Status.OK
        assert len(critic.views) == 1
        assert out.activities.count("executus.critic") > 1, "it goes on looking for signs of life"


async def test_a_kill_is_not_for_a_run_that_woke_up_meanwhile(env):
    begun, go = asyncio.Event(), asyncio.Event()

    async def think(view):
        begun.set()
        await go.wait()
        return CriticDecision(kill="it hangs")

    async def slow(request):
        if request.messages[-1].message.role == "tool":
            go.set()
            await asyncio.sleep(0.5)
            return say("done")
        await begun.wait()
        return call("look")

    critic = Own(think)
    async with kit(env, tools=[look], critic=critic) as k:
        fields = {"tools": ("look",), "max_runtime": 20, "critic": {**OWN, "idle_seconds": 3}}
        out = await k.run(slow, **fields)
        assert out.result.output == "done"
        assert await events(k, out.result.run_id, "critic_overtaken") != []


# -- signs of life -----------------------------------------------------------------------------


async def test_a_tool_that_tells_of_itself_or_a_child_that_works_or_waits_is_not_idle(env):
    critic = Own(CriticDecision())
    helper = RunnableAgent(
        name="helper", description="digs", model_tier="scripted/helper", tools=("dig",)
    )
    asker = RunnableAgent(
        name="asker", description="asks", model_tier="scripted/asker", tools=("dig", "send")
    )
    tools, defaults = [dig, send], Defaults(approval_seconds=10)
    async with kit(env, tools=tools, agents=[helper, asker], critic=critic, defaults=defaults) as k:
        k.scripts["helper"] = [call("dig", seconds=4.5, tell=True), say("dug")]
        asks = calls(("dig", {"seconds": 4.5, "tell": False}), ("send", {}))
        k.scripts["asker"] = [asks, say("nobody answered")]
        fields = {"max_runtime": 20, "critic": {**OWN, "idle_seconds": 3}}
        loud, still, parent, waiting = await asyncio.gather(
            k.run([call("dig", seconds=4.5, tell=True), say("ok")], tools=("dig",), **fields),
            k.run([call("dig", seconds=4.5, tell=False), say("ok")], tools=("dig",), **fields),
            k.run(
                [call("agent__helper", prompt="dig"), say("ok")], sub_agents=("helper",), **fields
            ),
            k.run([call("agent__asker", prompt="ask"), say("ok")], sub_agents=("asker",), **fields),
        )
        for out in (loud, still, parent, waiting):
            assert out.result.status is Status.OK
            assert out.activities.count("executus.critic") >= 1, "it looked"
        assert [v.state.run_id for v in critic.views] == [still.result.run_id], "and asked once"
        (work,) = critic.views[0].work
        assert (work.name, work.quiet_seconds, work.said) == ("tool.dig", None, "")


async def test_who_waits_for_a_person_is_not_judged(env):
    critic = Own(CriticDecision(kill="it hangs"))
    async with kit(env, tools=[send], critic=critic, defaults=Defaults(approval_seconds=900)) as k:
        fields = {"max_runtime": 600, "critic": {**OWN, "idle_seconds": 100}}
        out = await k.run([call("send"), say("without")], tools=("send",), **fields)
        assert (out.result.status, out.result.output) == (Status.OK, "without")
        assert 900 <= took(out.result) < 910
        assert "executus.critic" not in out.activities


async def test_a_child_that_hangs_is_killed_and_its_parent_goes_on_without(env):
    heard = []

    def parent(request):
        if request.messages[-1].message.role != "tool":
            return call("agent__miner", prompt="dig")
        heard.append(request.messages[-1].message.parts[0].text)
        return say("without")

    miner = RunnableAgent(
        name="miner",
        description="digs",
        model_tier="scripted/miner",
        max_runtime=100,
        critic=OWN,
    )
    critic = Own(CriticDecision(kill="no ore"))
    async with kit(env, agents=[miner], critic=critic) as k:
        k.scripts["miner"] = [silent(190, say("gold"))]
        out = await k.run(parent, sub_agents=("miner",), max_runtime=600)
        assert (out.result.status, out.result.output) == (Status.OK, "without")
        child = await k.runs.result(critic.views[0].state.run_id)
        assert (child.reason, child.run_id != out.result.run_id) == (Reason.CRITIC, True)
        assert 100 <= took(child) < 110
        assert heard == ["status killed (critic): killed by the critic: no ore"]


async def test_a_phase_keeps_its_own_time_while_the_run_is_extended(env):
    phases = (
        {"name": "Dig", "max_runtime": 300, "optional": True, "fallback": "nothing found"},
        {"name": "Write"},
    )
    script = [silent(1_400, say("the report"))]
    async with kit(env, interceptors=[Hang("m1")]) as k:
        out = await k.run(script, phases=phases, max_runtime=600, critic={})
        assert (out.result.status, out.result.output) == (Status.OK, "the report")
        assert 1_700 <= took(out.result) < 1_800, "300 s and 1,400 s; the backstop was at 1,200"
        (extended,) = await events(k, out.result.run_id, "extended")
        assert extended.startswith("by 600 s")
        (failed,) = await events(k, out.result.run_id, "phase_failed")
        assert "its 300 s are used" in failed
        (look,) = (s for s in out.result.steps if s.kind == "critic")
        seconds = (look.started_at - out.result.started_at).total_seconds()
        assert 900 <= seconds < 930, "600 s after the second phase began"


# -- the judge ---------------------------------------------------------------------------------


def verdict(action: str, why: str, message: str = ""):
    return say(json.dumps({"action": action, "why": why, "message": message}))


async def test_a_judge_saves_a_slow_run_and_kills_a_hung_one(env):
    shown = []

    def judge(request):
        shown.append(request.messages[-1].message.text)
        slow = "count the sheep" in shown[-1]
        return verdict("extend", "it gets on") if slow else verdict("kill", "no hope")

    async with kit(env) as k:
        k.scripts["judge"] = judge
        critic = {"kind": "judge", "tier": "scripted/judge"}
        slow, hung = await asyncio.gather(
            k.run(
                [silent(1_500, say("9"))], prompt="count the sheep", max_runtime=600, critic=critic
            ),
            k.run([silent(1_700, say("-"))], prompt="wait", max_runtime=600, critic=critic),
        )
        assert (slow.result.status, slow.result.output) == (Status.OK, "9")
        assert (hung.result.status, hung.result.error) == (
            Status.KILLED,
            "killed by the critic: no hope",
        )
        assert all("executus.model" in text and "Under way" in text for text in shown)
        for out in (slow, hung):
            (step,) = (s for s in out.result.steps if s.kind == "critic")
            assert step.usage is not None
            assert step.model == "scripted/judge"
            assert out.result.usage.model_calls == sum(
                s.usage.model_calls for s in out.result.steps if s.usage
            )
            (row,) = (r for r in await k.audit.rows(out.result.run_id) if r.kind == "critic")
            assert row.name == "scripted/judge"
            await assert_closed_once(k, out)


async def test_a_judge_that_talks_nonsense_is_paid_for_and_changes_nothing(env):
    async with kit(env, interceptors=[Hang()]) as k:
        k.scripts["judge"] = [say("I would say kill it")]
        critic = {"kind": "judge", "tier": "scripted/judge"}
        out = await k.run([say("never")], max_runtime=600, critic=critic)
        assert out.result.reason is Reason.DEADLINE
        step = next(s for s in out.result.steps if s.kind == "critic")
        assert (step.status, step.usage.model_calls) == ("error", 1)
        await assert_closed_once(k, out)


async def test_a_run_with_no_tokens_left_asks_no_judge(env):
    async with kit(env) as k:
        k.scripts["judge"] = [verdict("kill", "never asked")]
        fields = {"limits": {"tokens": 5_000, "max_output_tokens": 500}, "max_runtime": 600}
        critic = {"kind": "judge", "tier": "scripted/judge"}
        out = await k.run([silent(700, say("done"))], critic=critic, **fields)
        assert out.result.status is Status.OK
        assert "executus.critic" not in out.activities
        (event,) = await events(k, out.result.run_id, "critic_failed")
        assert "no judge was asked" in event


@pytest.mark.parametrize("under_way", ["a model call", "a child run"])
async def test_a_judge_is_not_asked_for_what_a_step_under_way_may_still_take(env, under_way):
    mid = RunnableAgent(name="mid", model_tier="scripted/mid", max_runtime=600)
    dear = Say(text="done", usage=Usage(input_tokens=10, output_tokens=11_000, model_calls=1))
    async with kit(env, agents=[mid], interceptors=[Hang("m2")]) as k:
        k.scripts["judge"] = [verdict("continue", "never asked")]
        k.scripts["mid"] = [silent(500, dear)]
        first = silent(700, dear) if under_way == "a model call" else call("agent__mid", prompt="x")
        out = await k.run(
            [first, say("end")],
            sub_agents=("mid",),
            limits={"tokens": 12_000, "max_output_tokens": 11_500},
            max_runtime=600,
            critic={"kind": "judge", "tier": "scripted/judge", "idle_seconds": 300},
        )
        assert out.result.usage.total_tokens <= 12_000
        assert not [s for s in out.result.steps if s.kind == "critic"]
        failed = await events(k, out.result.run_id, "critic_failed")
        assert "under way" in failed[0]


# -- what cannot be ----------------------------------------------------------------------------


async def test_looks_that_would_fill_the_history_are_refused(env):
    async with kit(env) as k:
        out = await k.run([say("no")], max_runtime=80_000, critic={"idle_seconds": 3})
        assert out.result.reason is Reason.INVALID_REQUEST
        assert "critic.idle_seconds 3 is too short" in out.result.error


async def test_an_unknown_tier_of_a_judge_is_refused(env):
    async with kit(env) as k:
        out = await k.run([say("no")], critic={"kind": "judge", "tier": "nowhere"})
        assert out.result.reason is Reason.UNKNOWN_TIER
