"""What the seed's history asks to be shown (docs/seed.md) and no other test of runs shows."""

import asyncio
import dataclasses

import pytest

from executus import (
    Defaults,
    Invocation,
    Reason,
    RunnableAgent,
    RunRequest,
    Status,
)
from executus.critic_view import CriticDecision
from executus.errors import StoreError
from executus.models.registry import Models
from executus.models.scripted import Scripted, call, calls, fail, say
from executus.origin import Origin
from executus.phase import Phase
from executus.ports import Ports
from executus.stores.memory import MemoryAudit, MemoryBudget
from executus.tools import ToolContext, tool

from .kit import assert_closed_once, kit
from .test_critic import Own, silent

S, R = Status, Reason
SECOND = asyncio.Event


LATER = asyncio.Event()
ECHO = RunnableAgent(name="tester", model_tier="scripted/echo")


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(effect="pure")
async def wait_for_the_other(name: str, ctx: ToolContext) -> str:
    """The first call waits until the second one is over."""
    if name == "first":
        await LATER.wait()
    return f"result of {name}"


# -- models ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("nothing", [None, ""])
async def test_a_tier_that_resolves_to_no_model_is_a_clean_error(env, nothing):
    models = Models({"empty": nothing}, providers=[Scripted({})])
    async with kit(env, models=models) as k:
        out = await k.run(None, model_tier="empty")
        assert (out.result.status, out.result.reason) == (S.ERROR, R.UNKNOWN_TIER)
        assert "the tier 'empty' resolved to no model" in out.result.error
        await assert_closed_once(k, out, reserved=False)


async def test_a_provider_that_returns_nothing_is_a_failed_target(env):
    class Silent:
        name = "silent"

        async def complete(self, request, progress):
            return None

        async def close(self):
            pass

    models = Models({}, providers=[Silent(), Scripted({"s": [say("rescued")]})])
    async with kit(env, models=models) as k:
        out = await k.run(None, model_tier="silent/m,scripted/s", max_runtime=600)
        assert out.result.output == "rescued"
        out = await k.run(None, model_tier="silent/m", max_runtime=600)
        assert (out.result.status, out.result.reason) == (S.ERROR, R.MODEL_UNAVAILABLE)
        assert "the provider returned NoneType" in out.result.error
        await assert_closed_once(k, out)


async def test_an_alias_cycle_is_an_error_of_the_run_that_names_it(env):
    models = Models({"fast": "a"}, aliases={"a": "b", "b": "a"}, providers=[Scripted({})])
    async with kit(env, models=models) as k:
        out = await k.run(None, model_tier="fast")
        assert (out.result.status, out.result.reason) == (S.ERROR, R.UNKNOWN_TIER)
        assert "a -> b -> a" in out.result.error


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("provider_auth", S.ERROR, R.PROVIDER_AUTH),
        ("request_rejected", S.ERROR, R.REQUEST_REJECTED),
        (
            "overloaded",
            S.TIMEOUT,
            R.DEADLINE,
        ),  # it would have been asked again, had there been time
    ],
)
async def test_a_real_error_while_the_clock_also_expires_is_an_error(env, fault, status, reason):
    async def late(request):
        await asyncio.sleep(1.5)
        return fail(fault, "the provider's own words")

    async with kit(env) as k:
        out = await k.run(late, max_runtime=2.5)  # a busy machine takes 0.5 s to hear of it
        assert (out.result.status, out.result.reason) == (status, reason), out.result.error
        assert ("own words" in out.result.error) == (status is S.ERROR)
        await assert_closed_once(k, out)


# -- steps -----------------------------------------------------------------------------------------


async def test_a_turn_has_one_step_and_one_result_for_each_call_and_no_ghost(env):
    told = []

    def look(request):
        told.append([m.message.parts[0] for m in request.messages if m.message.role == "tool"])
        return say("ok")

    mixed = calls(("add", {"a": 1, "b": 1}), ("nope", {}), ("add", "{not json"), ("add", {"a": 2}))
    async with kit(env, tools=[add]) as k:
        out = await k.run([mixed, look], tools=("add",))
        assert [s.kind for s in out.result.steps] == [
            *("model", "tool.add", "tool.nope", "tool.add", "tool.add", "model")
        ]
        assert [s.status for s in out.result.steps[1:5]] == ["complete", "error", "error", "error"]
        assert [part.name for part in told[0]] == ["add", "nope", "add", "add"]
        assert len({part.call_id for part in told[0]}) == 4
        assert out.activities.count("tool.add") == 2, "what does not parse costs no activity"
        rows = [e for e in await k.audit.rows(out.result.run_id) if e.kind == "tool"]
        assert sorted(e.key.partition("#")[0] for e in rows) == ["m1.t1", "m1.t2", "m1.t3", "m1.t4"]
        await assert_closed_once(k, out)


async def test_two_same_name_parallel_calls_keep_their_own_results(env):
    told = []

    def look(request):
        told.extend(m.message.parts[0] for m in request.messages if m.message.role == "tool")
        return say("ok")

    LATER.clear()
    both = calls(*(("wait_for_the_other", {"name": name}) for name in ("first", "second")))
    async with kit(env, tools=[wait_for_the_other]) as k:
        handle = await k.start([both, look], tools=("wait_for_the_other",))
        while (await k.runs.state(handle.id)).steps_total < 3:
            await asyncio.sleep(0.02)
        while (await k.runs.state(handle.id)).steps[-1].status != "complete":
            await asyncio.sleep(0.02)
        LATER.set()
        out = await k.outcome(handle.id)
        assert [(part.call_id, part.text) for part in told] == [
            ("call_0_0", "result of first"),
            ("call_0_1", "result of second"),
        ]
        _, first, second, _ = out.result.steps
        assert '"first"' in first.summary
        assert '"second"' in second.summary
        assert second.ended_at < first.ended_at, "they did not end in the other order"


async def test_the_iteration_a_tool_reads_increments_without_any_audit(env):
    told = []

    def ask(request):
        if request.messages[-1].message.role == "tool":
            told.append(request.messages[-1].message.parts[0].text)
        return call("run_status") if len(told) < 3 else say("ok")

    async with kit(env, tools=[add], ports=Ports()) as k:
        out = await k.run(ask, tools=("add",), max_iterations=9)
        assert out.result.iterations == 4
    for turn, text in enumerate(told, 1):
        assert f'"iteration":{turn}' in text
        assert '"max_iterations":9' in text
        assert '"seconds_left":' in text


async def test_a_weak_closing_turn_recovers_the_earlier_answer_and_42_is_kept(env):
    answer = "The total is 1,234 EUR, from three invoices: A, B and C."
    early = dataclasses.replace(call("add", a=1, b=1), text=answer)
    async with kit(env, tools=[add]) as k:
        for closing, output in (("As I already answered above.", answer), ("42", "42")):
            out = await k.run([early, say(closing)], tools=("add",))
            assert (out.result.status, out.result.output) == (S.OK, output)


async def test_two_phases_of_the_same_name_both_run_fresh(env):
    async with kit(env) as k:
        for name in ("first", "second"):
            k.scripts[name] = lambda request, name=name: say(
                f"{name}: {', '.join(_heads(request))} [{request.system_prompt}]"
            )
        made = [
            Phase(name="Same", model_tier="scripted/first"),
            Phase(name="Same", model_tier="scripted/second", system_prompt="{{Same}}"),
        ]
        out = await k.run(None, phases=tuple(made))
        seen = "second: do it, [executus] Phase `Same` begins (2 of 2). [first: do it []]"
        assert out.result.output == seen
        assert [s.phase for s in out.result.steps] == ["Same", "Same"]
        assert out.activities.count("executus.model") == 2


def _heads(request) -> list[str]:
    """The first sentence of each message."""
    return [m.message.text.partition(" Earlier")[0] for m in request.messages]


async def test_a_phase_that_stops_leaves_whole_characters_and_its_usage(env):
    """Salvage was cut by bytes, and a hard error lost the usage."""
    seen = []

    @tool(effect="pure")
    async def euros() -> str:
        """Answer in characters of three bytes."""
        return "€" * 5_000

    def write(request):
        seen.append(request.system_prompt)
        return fail("request_rejected", "no")

    async with kit(env, tools=[euros]) as k:
        k.scripts["look"] = [call("euros")] * 3
        k.scripts["write"] = write
        made = (
            Phase(name="Look", model_tier="scripted/look"),
            Phase(name="Write", model_tier="scripted/write", system_prompt="From:\n{{Look}}"),
        )
        out = await k.run(None, phases=made, tools=("euros",))
        assert "stopped before its end" in seen[0]
        assert seen[0].endswith("€" * 2_000)
        assert "\N{REPLACEMENT CHARACTER}" not in seen[0]
        assert out.result.reason is R.REQUEST_REJECTED
        assert out.result.usage.model_calls == 3
        paid = sum(s.usage.total_tokens for s in out.result.steps if s.usage)
        assert out.result.usage.total_tokens == paid > 0
        await assert_closed_once(k, out)


async def test_bare_phases_do_not_look_idle(env):
    critic = Own(CriticDecision(kill="it looked idle"))
    async with kit(env, critic=critic) as k:
        for number in range(3):
            k.scripts[f"bare-{number}"] = [silent(400, say(f"part {number}"))]
        made = tuple(
            Phase(name=f"P{number}", model_tier=f"scripted/bare-{number}", bare=True)
            for number in range(3)
        )
        fields = {"max_runtime": 600, "critic": {"kind": "own", "backstop": 3}}
        out = await k.run(None, phases=made, **fields)
        assert (out.result.status, out.result.output) == (S.OK, "part 2")
        assert (out.result.ended_at - out.result.started_at).total_seconds() > 1_200
        assert critic.views == [], "each call is activity"


async def test_guards_that_are_switched_off_stop_nothing(env):
    async with kit(env, tools=[add]) as k:
        same = [call("add", a=1, b=1)] * 5
        wrong = [call("add", a="one")] * 5
        limits = {"tool_errors": 0, "same_tool_calls": 0}
        out = await k.run([*same, *wrong, say("done")], tools=("add",), limits=limits)
        assert (out.result.status, out.result.output) == (S.OK, "done")


# -- ports -----------------------------------------------------------------------------------------


class Broken:
    """Every method of every port: it raises."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)

        async def method(*args, **kwargs):
            raise KeyError(f"bug in {name} of the host")

        return method


BROKEN = {
    "audit": (S.OK, R.ANSWER),
    "budget": (S.BUDGET_EXCEEDED, R.BUDGET_UNAVAILABLE),
    "palette": (S.ERROR, R.PORT_FAILED),
    "files": (S.OK, R.ANSWER),
    "letters": (S.OK, R.ANSWER),
    "checkpointer": (S.OK, R.ANSWER),
    "critic": (S.OK, R.ANSWER),
}


@pytest.mark.parametrize("port", BROKEN)
async def test_a_raising_port_is_an_error_result_and_never_a_crash(env, port):
    healthy = {"audit": MemoryAudit(), "budget": MemoryBudget(unlimited_by_default=True)}
    ports = Ports(**(healthy | {port: Broken()}))
    helper = RunnableAgent(name="helper", model_tier="scripted/echo")
    async with kit(env, tools=[add], agents=[helper], ports=ports) as k:
        asked = {"palette": {"sub_agents": ("helper",)}, "critic": {"critic": {"kind": "own"}}}
        script = [call("add", a=1, b=1), say("done")]
        out = await k.run(script, tools=("add",), max_runtime=3_600, **asked.get(port, {}))
        assert (out.result.status, out.result.reason) == BROKEN[port], out.result.error
        assert out.close == ("COMPLETED" if out.result.status is S.OK else "FAILED")


class Full:
    """A checkpointer whose disk is full."""

    async def save(self, checkpoint):
        raise StoreError("the disk is full")

    async def load(self, run_id):
        return None


async def test_a_checkpoint_that_fails_is_not_swallowed(env):
    audit = MemoryAudit()
    ports = Ports(audit=audit, checkpointer=Full())
    async with kit(env, tools=[add], ports=ports, defaults=Defaults(cleanup_seconds=5)) as k:
        out = await k.run([call("add", a=1, b=1), say("done")], tools=("add",))
        assert (out.result.status, out.result.output) == (S.OK, "done")
        assert "the last checkpoint did not land: " in out.result.warnings[0]
        assert "the disk is full" in out.result.warnings[0]
        rows = await audit.rows(out.result.run_id)
        assert "the disk is full" in str([e.body for e in rows if e.name == "checkpoint_failed"])


# -- identity --------------------------------------------------------------------------------------


async def test_runs_without_an_id_get_ids_of_their_own(env):
    async with kit(env) as k:
        request = k.request([say("ok")])
        first, second = await asyncio.gather(k.runs.run(request), k.runs.run(request))
        assert first.run_id != second.run_id
        for result in (first, second):
            assert result.run_id.startswith("tester-")
            assert (await k.audit.run(result.run_id)).closed_head == result.audit_head


async def test_platform_rules_stand_above_the_prompt_of_every_agent_and_phase(env):
    seen = []

    def look(request):
        seen.append(request.system_prompt)
        return say("ok")

    async with kit(env, header="House rules.") as k:
        await k.run(look, system_prompt="You count.")
        await k.run(look)
        k.scripts["phase"] = look
        made = Phase(name="One", model_tier="scripted/phase", system_prompt="Plan.")
        await k.run(None, phases=(made,), system_prompt="You count.")
    assert seen == [
        "House rules.\n\nYou count.",
        "House rules.",
        "House rules.\n\nYou count.\n\nPlan.",
    ]


# -- forks and children ----------------------------------------------------------------------------


async def test_an_early_error_of_a_fork_is_final_and_leaves_its_origin_alone(env):
    """In the seed an early error left the checkpoint, and every boot tried it again."""
    async with kit(env, tools=[add]) as k:
        script = [call("add", a=1, b=1), fail("request_rejected", "no")]
        source = await k.run(script, tools=("add",))
        k.budget._unlimited = False
        fork = await k.runs.fork(Origin(run_id=source.result.run_id))
        out = await k.outcome(fork.id)
        assert (out.result.status, out.result.reason) == (S.BUDGET_EXCEEDED, R.BUDGET_REJECTED)
        assert "executus.model" not in out.activities
        await assert_closed_once(k, out, reserved=False)
        await assert_closed_once(k, source)
        k.budget._unlimited = True
        asked = Invocation(prompt="x", run_id=fork.id)
        again = await k.runs.start(RunRequest(agent=ECHO, invocation=asked))
        assert await k.runs.result(again.id) == out.result, "nothing begins it once more"


async def test_a_child_without_output_leaves_no_blank_line(env):
    told = []

    def parent(request):
        last = request.messages[-1].message
        if last.role == "tool":
            told.append(last.parts[0].text)
            return say("ok")
        return call("agent__helper", prompt="go")

    helper = RunnableAgent(name="helper", model_tier="scripted/helper")
    async with kit(env, agents=[helper]) as k:
        k.scripts["helper"] = [fail("request_rejected", "no")]
        out = await k.run(parent, sub_agents=("helper",))
        assert out.result.status is S.OK
    assert told[0].startswith("status error (request_rejected): ")
    assert told[0] == told[0].strip()
    assert "partial output" not in told[0]


async def test_a_child_is_held_to_the_gates_of_its_own_caller(env):
    """In the seed delegation went past the registry's gates."""

    @tool(effect="pure", callers=("bob",))
    async def bobs() -> str:
        """Something for Bob alone."""
        return "never"

    def parent(request):
        return say("ok") if request.messages[-1].message.role == "tool" else ask

    ask = call("agent__helper", prompt="go")
    helper = RunnableAgent(name="helper", model_tier="scripted/helper", tools=("bobs",))
    async with kit(env, tools=[bobs], agents=[helper]) as k:
        k.scripts["helper"] = [call("bobs"), say("never")]
        out = await k.run(parent, sub_agents=("helper",))
        _, step, _ = out.result.steps
        assert step.status == "error", step.summary
        child = await k.outcome(step.child_run_id)
        assert child.result.reason is R.UNKNOWN_TOOL
        assert "tool.bobs" not in child.activities
        await assert_closed_once(k, child, reserved=False)
