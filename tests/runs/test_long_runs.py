"""Long runs: continue-as-new inside the loop, local tools, linear history."""

import asyncio
import io
from collections import Counter

import pytest
from rich.console import Console
from temporalio.client import Client, WorkflowHistory

from executus import Reason, Status
from executus.cli.app import invoke
from executus.cli.follow import Follower
from executus.cli.live import PlainView
from executus.errors import ConfigError
from executus.limits import Defaults
from executus.message import Message
from executus.models.scripted import call, calls, hang, say
from executus.testing import activities, executions
from executus.tools import ToolContext, tool
from executus.transcript import Transcript, TranscriptPage, view
from executus.workflows.handover import shown

from .kit import assert_closed_once, event_name, kit


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(effect="pure", local=True)
async def quick(n: int) -> str:
    """Answer at once."""
    return f"quick {n}"


@tool(effect="pure", local=True)
def quick_sync(n: int) -> str:
    """Answer at once, in a thread."""
    return f"sync {n}"


@tool(effect="pure")
async def text(n: int, size: int) -> str:
    """Return a text of some size."""
    return f"{n}" + "x" * size


@tool(effect="pure")
async def same() -> str:
    """Return the same for ever."""
    return "same"


@tool(requires_approval=True)
async def risky() -> str:
    """Need a yes."""
    return "done"


@tool(effect="pure", result_bytes=500_000)
async def huge(n: int) -> str:
    """Return as much as a result may be."""
    return f"{n}" + "y" * 2_000_000


KEYS = []


@tool
async def once(ctx: ToolContext) -> str:
    """Note the key."""
    KEYS.append(ctx.idempotency_key)
    return ctx.idempotency_key


TOOLS = [add, quick, quick_sync, text, same, once, risky, huge]
NAMES = tuple(t.name for t in TOOLS)


async def chain(k, run_id: str) -> list[WorkflowHistory]:
    """Histories of all executions of a run, oldest first; each replays."""
    found = [*await executions(k.client, run_id)]
    for history in found:
        await k.replay(history)
    return found


def adds(count: int):
    """A script that is not thrown off by messages that were folded or carried over."""

    def reply(request):
        done = sum(len(m.message.tool_calls) for m in request.messages)
        return call("add", a=done, b=1) if done < count else say(f"{done} calls")

    return reply


@pytest.fixture
async def k(env):
    defaults = Defaults(history_events=80, max_iterations=200, max_runtime=600)
    async with kit(env, tools=TOOLS, defaults=defaults) as made:
        yield made


async def test_a_long_run_is_one_run_to_everybody(k):
    handle = await k.start(adds(30), tools=NAMES)
    result = await k.runs.result(handle.id)
    assert (result.status, result.output) == (Status.OK, "30 calls")
    assert result.iterations == 31
    assert result.steps_total == 61
    assert [s.id for s in result.steps][:3] == ["m1", "m1.t1", "m2"]
    assert len({s.id for s in result.steps}) == 61
    assert result.usage.model_calls == 31
    histories = await chain(k, handle.id)
    assert len(histories) >= 4
    assert all(len(h.events) < 120 for h in histories)
    assert activities(histories[0])[:3] == [
        "executus.resolve",
        "executus.budget.check",
        "executus.audit.start",
    ]
    for history in histories[1:]:
        assert "executus.resolve" not in activities(history)
        assert "executus.budget.check" not in activities(history)
    assert [activities(h)[-1] for h in histories[:-1]] == ["executus.audit.flush"] * (
        len(histories) - 1
    )
    run = await k.audit.run(handle.id)
    assert (run.n_close, run.closed_head) == (1, result.audit_head)
    assert (await k.audit.verify(handle.id)).ok
    keys = {key.partition("#")[0] for key in await k.audit.keys(handle.id)}
    assert {s.id for s in result.steps} <= keys
    assert k.budget._holds[handle.id].n_settle == 1
    state = await k.runs.state(handle.id)
    assert (state.steps_total, state.iteration, state.stage) == (61, 31, "closed")


async def test_a_conversation_too_large_to_carry_is_read_back(k, monkeypatch):
    monkeypatch.setattr("executus.workflows.handover.MAX_CARRY_BYTES", 5_000)
    handle = await k.start(adds(25), tools=NAMES)
    result = await k.runs.result(handle.id)
    assert result.output == "25 calls"
    histories = await chain(k, handle.id)
    assert all(activities(h)[0] == "executus.restore" for h in histories[1:])


async def test_the_deadline_and_the_iteration_limit_span_the_chain(k):
    handle = await k.start(adds(10_000), tools=NAMES, max_iterations=40)
    result = await k.runs.result(handle.id)
    assert (result.reason, result.iterations) == (Reason.MAX_ITERATIONS, 40)
    handle = await k.start(adds(10_000), tools=NAMES, max_runtime=3.0)
    result = await k.runs.result(handle.id)
    assert result.status is Status.TIMEOUT
    took = (result.ended_at - result.started_at).total_seconds()
    assert 3.0 <= took < 10


async def test_guards_go_on_over_the_boundary(env):
    async with kit(env, tools=TOOLS, defaults=Defaults(history_events=50, max_runtime=600)) as k:

        def loop(request):
            return call("same")

        handle = await k.start(loop, tools=NAMES, limits={"same_tool_calls": 9})
        result = await k.runs.result(handle.id)
        assert result.reason is Reason.TOOL_LOOP
        assert result.iterations == 9
        assert len(await chain(k, handle.id)) >= 2


async def test_the_command_line_and_a_pending_approval_belong_to_the_newest_execution(
    env, monkeypatch, capsys
):
    """What an operator types names the run; which execution lives now is not theirs to know."""
    address = env.client.service_client.config.target_host
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    real_time = await Client.connect(address)  # an idle run would be at its deadline at once

    async def command(*arguments: str) -> str:
        code = await asyncio.to_thread(invoke, list(arguments))
        said = capsys.readouterr()
        assert code == 0, said
        return said.out + said.err

    def reply(request):
        done = sum(len(m.message.tool_calls) for m in request.messages)
        heard = any("look left" in m.message.text for m in request.messages)
        if done < 15:
            return call("add", a=done, b=1)
        return call("risky") if done == 15 else say(f"heard: {heard}")

    defaults = Defaults(history_events=60, max_iterations=200, max_runtime=600)
    async with kit(env, tools=TOOLS, defaults=defaults, client=real_time) as k:
        handle = await k.start(reply, tools=NAMES)
        lines = io.StringIO()
        view = PlainView(Console(file=lines, width=200))
        follower = Follower(k.runs, handle.id, view, asyncio.Queue())
        following = asyncio.create_task(follower.wait())
        while "risky" not in lines.getvalue():  # the view, too, follows to the newest execution
            await asyncio.sleep(0.05)
        assert "m16.t1 waits for approval" in await command("approve", handle.id, "--list")
        await command("steer", handle.id, "look left")
        await command("approve", handle.id, "m16.t1", "--as", "bob")
        result = await following
    assert result is not None
    assert result.output == "heard: True"
    assert len(await chain(k, handle.id)) >= 3


@pytest.mark.timeout(240)  # it asks all the time, which costs a busy machine much
async def test_steer_and_cancel_reach_a_later_execution(k):
    heard = []

    def listen(request):
        texts = [m.message.text for m in request.messages if m.message.role == "user"]
        heard.append(texts.count("look left"))
        done = sum(len(m.message.tool_calls) for m in request.messages)
        return call("add", a=done, b=1) if done < 40 else hang()

    handle = await k.start(listen, tools=NAMES)
    while (await k.runs.state(handle.id)).iteration < 15:
        await asyncio.sleep(0.2)
    await k.runs.steer(handle.id, "look left")
    while (await k.runs.state(handle.id)).iteration < 41:
        await asyncio.sleep(0.2)
    await k.runs.cancel(handle.id, "enough")
    result = await k.runs.result(handle.id)
    assert result.reason is Reason.CANCEL_SIGNAL
    assert result.steps_total == 81
    assert heard[0] == 0
    assert heard[-1] == 1


async def test_keys_are_unique_over_the_chain_and_name_the_first_execution(k):
    KEYS.clear()

    def reply(request):
        done = sum(len(m.message.tool_calls) for m in request.messages)
        return call("once") if done < 25 else say("ok")

    handle = await k.start(reply, tools=NAMES, limits={"same_tool_calls": 0})
    await k.runs.result(handle.id)
    assert len(await chain(k, handle.id)) >= 3
    assert len(set(KEYS)) == len(KEYS) == 25
    assert len({key.rsplit("/", 1)[0] for key in KEYS}) == 1


async def test_a_carry_of_a_callers_is_refused(env):
    async with kit(env, tools=TOOLS, defaults=Defaults(history_events=50, max_runtime=600)) as k:
        handle = await k.start(adds(20), tools=NAMES)
        await k.runs.result(handle.id)
        histories = await chain(k, handle.id)
        first = histories[1].events[0].workflow_execution_started_event_attributes
        carry = k.client.data_converter.payload_converter.from_payload(first.input.payloads[0])
        forged = await k.client.start_workflow(
            "executus.AgentRun", carry, id=f"forged-{handle.id}", task_queue=k.queue
        )
        result = await k.runs.result(forged.id)
        assert result.reason is Reason.INVALID_REQUEST


def test_what_is_shown_is_a_transcript_of_its_own():
    from tests.workflows.fakes import Fold, TextPart

    messages = [Message.user(f"{n}") for n in range(10)]
    summary = Message(role="summary", parts=(TextPart(text="s"),), fold=Fold(start=1, end=6))
    transcript = Transcript([*messages, summary, Message.user("last")])
    again = shown(transcript)
    assert [m.text for m in again] == ["0", "s", "6", "7", "8", "9", "last"]
    assert view(again) == list(range(len(again)))
    assert [m.text for m in shown(Transcript(again))] == [m.text for m in again]


# -- local tools -----------------------------------------------------------------------------------


async def test_a_local_tool_costs_one_event_and_is_audited(env):
    async with kit(env, tools=TOOLS) as k:
        script = [calls(("quick", {"n": 1}), ("quick_sync", {"n": 2})), say("ok")]
        out = await k.run(script, tools=NAMES)
        assert out.result.status is Status.OK
        assert "tool.quick" not in out.activities
        markers = [e for e in out.history.events if e.HasField("marker_recorded_event_attributes")]
        assert len(markers) == 2
        assert {"tool.quick", "tool.quick_sync"} <= {s.kind for s in out.result.steps}
        await assert_closed_once(k, out)


@pytest.mark.parametrize(
    "options",
    [{"effect": "once"}, {"effect": "pure", "timeout": 5}, {"effect": "pure", "task_queue": "q"}],
)
def test_a_tool_that_may_take_long_or_has_effects_is_not_local(options):
    with pytest.raises(ConfigError, match="local"):

        @tool(local=True, **options)
        async def bad() -> str:
            """Be refused."""
            return ""


# -- size ------------------------------------------------------------------------------------------


def size(history: WorkflowHistory) -> int:
    return sum(event.ByteSize() for event in history.events)


async def test_each_byte_enters_history_once_in_bulk(env):
    async with kit(env, tools=TOOLS, defaults=Defaults(max_iterations=100, max_runtime=600)) as k:
        sizes = []
        for count in (20, 40):
            script = [call("text", n=n, size=5_000) for n in range(count)]
            out = await k.run([*script, say("ok")], tools=NAMES)
            assert out.result.status is Status.OK
            sizes.append(size(out.history))
        assert sizes[1] <= 2.1 * sizes[0]
        assert sizes[1] <= 0.4 * 900_000, "with both ports wired, which add a fixed part"


async def test_sixty_results_of_fifty_kilobytes_and_a_long_prompt_complete_in_bulk(env):
    defaults = Defaults(max_iterations=100, max_runtime=600)
    async with kit(env, tools=TOOLS, defaults=defaults) as k:
        script = [
            calls(*(("text", {"n": n, "size": 50_000}) for n in range(i * 6, i * 6 + 6)))
            for i in range(10)
        ]
        out = await k.run([*script, say("ok")], tools=NAMES, prompt="p" * 200_000)
        assert out.result.status is Status.OK
        assert size(out.history) < 4_500_000
        handle = k.client.get_workflow_handle(out.result.run_id)
        page = await handle.query("transcript", 0, result_type=TranscriptPage)
        assert page.total == 72


async def test_large_results_of_one_turn_reach_the_workflow_under_three_megabytes_at_once_in_bulk(
    env,
):
    """Twelve results of half a megabyte: each is cut, and no workflow task is given them all."""
    async with kit(env, tools=TOOLS, defaults=Defaults(parallel_tools=12, max_runtime=600)) as k:
        script = [calls(*(("huge", {"n": n}) for n in range(12))), say("ok")]
        out = await k.run(script, tools=NAMES)
    assert out.result.status is Status.OK
    together, most = 0, 0
    for event in out.history.events:
        if event.HasField("workflow_task_started_event_attributes"):
            together = 0
        if event.HasField("activity_task_completed_event_attributes"):
            assert event.ByteSize() < 1_000_000
            together += event.ByteSize()
            most = max(most, together)
    assert 500_000 < most < 3_000_000
    assert size(out.history) > 12 * 450_000, "nothing was lost on the way"


async def test_an_iteration_is_two_activities_two_workflow_tasks_and_no_timer_in_bulk(env):
    async with kit(env, tools=TOOLS) as k:
        short, long = [
            await k.run([*(call("add", a=n, b=1) for n in range(count)), say("ok")], tools=NAMES)
            for count in (2, 6)
        ]
    grown = Counter(map(event_name, long.history.events))
    grown.subtract(map(event_name, short.history.events))
    step = ("SCHEDULED", "STARTED", "COMPLETED")
    tasks = [f"{kind}_TASK_{name}" for kind in ("ACTIVITY", "WORKFLOW") for name in step]
    assert {name: count for name, count in grown.items() if count} == dict.fromkeys(tasks, 4 * 2)
    assert [event_name(e) for e in long.history.events].count("TIMER_STARTED") == 1, "the deadline"
