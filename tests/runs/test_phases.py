"""Phases on the real server: result, activities, replay, audit, and what stops them."""

import asyncio

import pytest
from temporalio.api.enums.v1 import EventType

from executus import Reason, RunnableAgent, Status
from executus.checkpoint import Checkpoint
from executus.critic_view import CriticDecision
from executus.limits import Defaults
from executus.models.scripted import call, fail, hang, say
from executus.origin import Origin
from executus.phase import Phase
from executus.ports import Ports
from executus.stores.memory import MemoryAudit
from executus.testing import activities
from executus.tools import tool
from executus.usage import Usage

from .kit import assert_closed_once, kit
from .test_critic import OWN, Own
from .test_long_runs import chain


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def phases(k, *made: tuple, **extra) -> tuple[Phase, ...]:
    """Phases from (name, script, fields); each has a model of its own."""
    found = []
    for number, (name, script, fields) in enumerate(made):
        spec = f"p{number}-{name}"
        k.scripts[spec] = script
        found.append(Phase(name=name, model_tier=f"scripted/{spec}", **fields))
    return tuple(found)


SCHEDULED = (EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, EventType.EVENT_TYPE_TIMER_STARTED)


def what(event) -> str:
    """An activity's last name, or what a timer is for."""
    if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED:
        title = event.user_metadata.summary.data.decode().strip('"')
        return title.split(" | ")[-1].removeprefix("run ")
    return event.activity_task_scheduled_event_attributes.activity_type.name.split(".")[-1]


def groups(event) -> list[tuple[str, str]]:
    """Ids and labels of the groups that an event is in."""
    marks = [mark.label for mark in event.event_group_markers]
    return [(mark.id, mark.label.data.decode().strip('"')) for mark in marks]


def prompts(seen: list[str]):
    """A script that says what its instructions are."""

    def reply(request):
        seen.append(request.system_prompt)
        return say(f"from [{request.system_prompt}]")

    return reply


async def test_a_pipeline_of_five_with_an_optional_failure(env):
    async with kit(env, tools=[add]) as k:
        seen: list[str] = []
        made = phases(
            k,
            ("Plan", [say("the plan")], {"bare": True}),
            ("Search", [call("add", a=1, b=2), say("three")], {"tools": ("add",)}),
            (
                "Check",
                [fail("request_rejected", "no")],
                {"optional": True, "fallback": "unchecked"},
            ),
            ("Sum", [say("all summed up")], {"system_prompt": "{{Search}}"}),
            ("Write", prompts(seen), {"system_prompt": "{{.Query}}|{{Plan}}|{{Check}}|{{Sum}}"}),
        )
        out = await k.run(None, phases=made, tools=("add",), system_prompt="house")
        result = out.result
        assert (result.status, result.reason) == (Status.OK, Reason.ANSWER)
        assert seen == ["house\n\ndo it|the plan|unchecked|all summed up"]
        assert result.output == f"from [{seen[0]}]"
        assert result.usage.model_calls == 5
        assert [(s.id, s.phase) for s in result.steps] == [
            ("m1", "Plan"),
            ("m2", "Search"),
            ("m2.t1", "Search"),
            ("m3", "Search"),
            ("m4", "Check"),
            ("m5", "Sum"),
            ("m6", "Write"),
        ]
        assert out.activities == [
            "executus.resolve",
            "executus.budget.check",
            "executus.audit.start",
            *["executus.model"] * 2,
            "tool.add",
            *["executus.model"] * 4,
            "executus.budget.commit",
            "executus.audit.close",
        ]
        titles = [
            event.user_metadata.summary.data.decode().strip('"')
            for event in out.history.events
            if event.HasField("activity_task_scheduled_event_attributes")
        ]
        assert titles[3] == "Plan | turn 1: 1 message"
        assert titles[5].startswith("Search | add(")
        assert titles[9].startswith("Write | turn 6")
        await assert_closed_once(k, out)
        entries = await k.audit.rows(result.run_id)
        steps = {e.key: e.body["content"]["phase"]["value"] for e in entries if e.kind == "model"}
        assert steps["m3#1"] == "Search"
        assert entries[0].body["phases"] == [p.name for p in made]
        failed = [e for e in entries if e.name == "phase_failed"]
        assert len(failed) == 1


async def test_two_phases_that_close_at_one_turn_pay_for_and_record_both_answers(env):
    async with kit(env, tools=[add]) as k:
        large = Usage(input_tokens=3_000, output_tokens=900, model_calls=1)
        first = [call("add", a=1, b=2), say("half done", usage=large)]
        made = phases(k, ("A", first, {"max_iterations": 1}), ("B", [say("all I have")], {}))
        limits = {"tokens": 5_000, "at_limit": "wrap_up"}
        out = await k.run(None, phases=made, tools=("add",), limits=limits)
        result = out.result
        assert (result.reason, result.output) == (Reason.TOKEN_LIMIT, "all I have")
        found = [(s.id, s.phase, s.status) for s in result.steps if s.kind == "model"]
        assert found == [
            ("m1", "A", "complete"),
            ("m1.closing", "A", "complete"),
            ("m1.closing.2", "B", "complete"),
        ]
        await assert_closed_once(k, out)


class Stuck:
    """A checkpointer whose first copy never lands."""

    def __init__(self) -> None:
        self.tries = 0

    async def save(self, checkpoint: Checkpoint) -> None:
        self.tries += 1
        if self.tries == 1:
            await asyncio.Event().wait()

    async def load(self, run_id: str) -> Checkpoint | None:
        return None


async def test_a_phase_whose_time_is_up_while_a_copy_is_kept_is_over_and_no_more(env):
    ports = Ports(audit=MemoryAudit(), checkpointer=Stuck())
    defaults = Defaults(checkpoint_seconds=0)
    async with kit(env, tools=[add], ports=ports, defaults=defaults) as k:
        first = {"max_runtime": 1, "optional": True, "fallback": "none"}
        made = phases(k, ("A", [call("add", a=1, b=2)], first), ("B", [say("b")], {}))
        out = await k.run(None, phases=made, tools=("add",))
        assert (out.result.reason, out.result.output) == (Reason.ANSWER, "b")
        assert [(s.id, s.phase) for s in out.result.steps] == [
            ("m1", "A"),
            ("m1.t1", "A"),
            ("m2", "B"),
        ]


async def test_each_phase_is_a_named_group_of_events_in_the_temporal_ui(env):
    async with kit(env, tools=[add]) as k:
        made = phases(
            k,
            ("A", [say("a")], {}),
            ("B", [call("add", a=1, b=2), say("b")], {"max_runtime": 50, "tools": ("add",)}),
            ("B", [say("c")], {}),
        )
        out = await k.run(None, phases=made, tools=("add",))
        assert out.result.status is Status.OK
        began = [e for e in out.history.events if e.event_type in SCHEDULED]
        assert [(what(e), groups(e)) for e in began if what(e) != "deadline"] == [
            *[(name, []) for name in ("resolve", "check", "start")],
            ("model", [("phase-1", "A")]),
            *[(name, [("phase-2", "B")]) for name in ("model", "time is up", "add", "model")],
            ("model", [("phase-3", "B")]),
            *[(name, []) for name in ("commit", "close")],
        ]


async def test_cancel_in_an_optional_last_phase_is_a_cancel(env):
    async with kit(env) as k:
        made = phases(
            k, ("A", [say("a")], {}), ("B", [hang()], {"optional": True, "max_runtime": 50})
        )
        handle = await k.start(None, phases=made)
        while (state := await k.runs.state(handle.id)).iteration < 2:
            await asyncio.sleep(0.05)
        assert (state.phase, state.phase_number, state.phases_total) == ("B", 2, 2)
        assert (state.iteration, state.max_iterations) == (2, 13)
        await k.runs.cancel(handle.id, "enough")
        out = await k.outcome(handle.id)
        assert (out.result.status, out.result.reason) == (Status.CANCELLED, Reason.CANCEL_SIGNAL)
        assert out.result.usage.model_calls == 1
        await assert_closed_once(k, out)


async def test_the_runs_deadline_in_an_optional_last_phase_is_a_timeout(env):
    async with kit(env) as k:
        made = phases(
            k, ("A", [say("a")], {}), ("B", [hang()], {"optional": True, "max_runtime": 60})
        )
        out = await k.run(None, phases=made, max_runtime=1)
        assert (out.result.status, out.result.reason) == (Status.TIMEOUT, Reason.DEADLINE)
        await assert_closed_once(k, out)


async def test_a_kill_in_an_optional_last_phase_is_a_kill(env):
    async with kit(env, critic=Own(CriticDecision(kill="it hangs"))) as k:
        made = phases(
            k, ("A", [say("a")], {}), ("B", [hang()], {"optional": True, "fallback": "masked"})
        )
        fields = {"max_runtime": 20, "critic": {**OWN, "idle_seconds": 3}}
        out = await k.run(None, phases=made, **fields)
        assert (out.result.status, out.result.reason) == (Status.KILLED, Reason.CRITIC)
        assert "it hangs" in out.result.error
        assert (out.result.output, out.result.usage.model_calls) == ("a", 1)
        await assert_closed_once(k, out)


async def test_a_phase_whose_time_is_up_stops_its_child_run_and_counts_it(env):
    helper = RunnableAgent(name="helper", description="helps", model_tier="scripted/helper")
    async with kit(env, agents=[helper]) as k:
        k.scripts["helper"] = [call("nothing_of_that_name"), hang()]
        late = {"max_runtime": 3, "optional": True, "fallback": "alone"}
        made = phases(
            k,
            ("A", [call("agent__helper", prompt="help"), say("never")], late),
            ("B", prompts([]), {"system_prompt": "{{A}}"}),
        )
        out = await k.run(None, phases=made, max_runtime=60, sub_agents=("helper",))
        assert (out.result.status, out.result.output) == (Status.OK, "from [alone]")
        child = await k.runs.result(out.result.steps[1].child_run_id)
        assert child.status is Status.CANCELLED
        assert "the time of its phase is up" in child.error
        used = child.usage.total_tokens
        assert out.result.descendants == 1
        assert out.result.steps[1].usage == child.usage
        assert out.result.usage.total_tokens > used > 0
        await assert_closed_once(k, out)


async def test_a_phases_own_time_ends_the_phase_and_not_the_run(env):
    async with kit(env) as k:
        late = {"max_runtime": 0.5, "optional": True, "fallback": "too slow"}
        made = phases(k, ("A", [hang()], late), ("B", prompts([]), {"system_prompt": "{{A}}"}))
        out = await k.run(None, phases=made, max_runtime=30)
        assert (out.result.status, out.result.output) == (Status.OK, "from [too slow]")
        assert [s.status for s in out.result.steps] == ["error", "complete"]
        await assert_closed_once(k, out)
        made = phases(k, ("A", [hang()], {"max_runtime": 0.5}), ("B", [say("never")], {}))
        out = await k.run(None, phases=made, max_runtime=30)
        assert (out.result.status, out.result.reason) == (Status.TIMEOUT, Reason.DEADLINE)
        assert out.result.error == "phase `A`: its 0.5 s are used"


async def test_a_run_goes_on_in_another_execution_inside_a_phase(env):
    def adds(count):
        def reply(request):
            done = sum(len(m.message.tool_calls) for m in request.messages)
            return call("add", a=done, b=1) if done < count else say(f"{done} calls")

        return reply

    defaults = Defaults(history_events=50, max_runtime=600)
    async with kit(env, tools=[add], defaults=defaults) as k:
        seen: list[str] = []
        made = phases(
            k,
            ("A", adds(8), {"max_iterations": 9}),
            ("B", adds(7), {"max_iterations": 8}),
            ("C", prompts(seen), {"system_prompt": "{{A}}, {{B}}"}),
        )
        handle = await k.start(None, phases=made, tools=("add",))
        result = await k.runs.result(handle.id)
        assert (result.status, result.output) == (Status.OK, "from [8 calls, 7 calls]")
        assert result.iterations == 18
        assert len({s.id for s in result.steps}) == len(result.steps) == 33
        assert [s.phase for s in result.steps] == ["A"] * 17 + ["B"] * 15 + ["C"]
        histories = await chain(k, handle.id)
        assert len(histories) >= 3
        assert "executus.resolve" not in activities(histories[-1])
        run = await k.audit.run(handle.id)
        assert (run.n_close, run.closed_head) == (1, result.audit_head)
        state = await k.runs.state(handle.id)
        assert (state.phase, state.phase_number) == ("C", 3)


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ({"tools": ("nope",)}, "phase `A`: nope is not among the agent's tools: add"),
        ({"model_tier": "nosuch"}, "nosuch"),
    ],
)
async def test_a_phase_that_asks_for_what_is_not_there_is_refused(env, phase, message):
    async with kit(env, tools=[add]) as k:
        out = await k.run([say("never")], phases=(Phase(name="A", **phase),), tools=("add",))
        assert out.result.status is Status.ERROR
        assert message in out.result.error
        assert "executus.model" not in out.activities


async def test_a_bad_template_is_refused_also_from_a_client_that_does_not_check(env):
    async with kit(env) as k:
        raw = {"agent": {"name": "a", "phases": [{"name": "A", "system_prompt": "{{B}}"}]}}
        handle = await k.client.start_workflow(
            "executus.AgentRun", raw, id=f"raw-{k.queue}", task_queue=k.queue
        )
        out = await k.outcome(handle.id)
        assert out.result.reason is Reason.INVALID_REQUEST
        assert "{{B}}" in out.result.error
        assert "known: Query" in out.result.error


async def test_a_fork_without_phases_sees_what_every_phase_said(env):
    seen = []

    def again(request):
        seen.append([(wire.message.role, wire.message.text) for wire in request.messages])
        return say("again")

    async with kit(env) as k:
        made = phases(k, ("A", [say("found 7")], {}), ("B", [fail("request_rejected", "no")], {}))
        out = await k.run(None, phases=made)
        k.scripts["again"] = again
        agent = RunnableAgent(name="one", model_tier="scripted/again")
        fork = await k.runs.fork(Origin(run_id=out.result.run_id), agent=agent)
        assert (await k.outcome(fork.id)).result.output == "again"
        assert seen == [
            [
                ("user", "do it"),
                ("assistant", "found 7"),
                ("user", "[executus] Phase `B` begins (2 of 2)."),
            ]
        ]
