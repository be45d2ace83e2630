"""Bounds are bytes of JSON: what looks short in characters, or as a plain text, gets through too.

A Chinese character has three bytes. In JSON a quote has two and a control character six. Temporal
takes 2 MiB in a payload; what is larger hangs a run, or loses what a tool did.
"""

import re

import pytest

from executus import Invocation, Reason, RunnableAgent, RunRequest, Status
from executus.activities.reply import MAX_REPLY_BYTES
from executus.data import json_bytes
from executus.errors import RequestError
from executus.images import OUTPUT_BYTES
from executus.limits import Defaults
from executus.models.scripted import call, calls, say
from executus.ports import Ports
from executus.stores.blobs import FolderBlobs
from executus.stores.file_store import FileStore
from executus.stores.memory import MemoryAudit, MemoryBudget
from executus.testing import activities
from executus.tools import tool
from executus.workflows.delegation import OVERHEAD_BYTES

from .kit import Outcome, assert_closed_once, kit
from .test_long_runs import chain

LONG = 600
"""Seconds that no run here needs."""
RAN: list[str] = []


@tool(effect="pure", result_bytes=500_000)
async def chinese(n: int) -> str:
    """Return 480 KB in 160,000 characters."""
    return f"{n}" + "漢" * 160_000


@tool(effect="once", result_bytes=500_000)
async def pay_once() -> str:
    """Return 500 KB that are 3 MB in JSON."""
    RAN.append("once")
    return "\x1b" * 500_000


@tool(effect="idempotent", attempts=3, result_bytes=500_000)
async def pay() -> str:
    """Return 500 KB that are 3 MB in JSON."""
    RAN.append("idempotent")
    return "\x1b" * 500_000


@tool(effect="pure")
async def note(text: str) -> str:
    """Take a note."""
    return f"{len(text)} characters"


def after(name: str, count: int):
    """A script that calls a tool so often, whatever of the conversation was carried over."""

    def reply(request):
        done = sum(len(m.message.tool_calls) for m in request.messages)
        return call(name, n=done) if done < count else say("fin")

    return reply


async def test_a_chinese_conversation_too_large_to_carry_is_read_back(env):
    defaults = Defaults(history_events=75, max_iterations=200, max_runtime=LONG)
    async with kit(env, tools=[chinese], defaults=defaults) as k:
        handle = await k.start(
            after("chinese", 8), tools=("chinese",), limits={"compaction_ratio": 0}
        )
        result = await k.runs.result(handle.id)
        assert (result.status, result.output) == (Status.OK, "fin")
        histories = await chain(k, handle.id)
        assert len(histories) > 1
        assert [activities(h)[0] for h in histories[1:]] == ["executus.restore"] * (
            len(histories) - 1
        )


class Down(MemoryAudit):
    """A store that takes no step until it is up again."""

    down = True

    async def record(self, run_id, rows):
        if self.down:
            raise ConnectionError("down")
        await super().record(run_id, rows)


async def test_chinese_steps_of_an_audit_outage_are_written_by_the_close(env):
    audit, budget = Down(), MemoryBudget(unlimited_by_default=True)
    async with kit(env, tools=[chinese], ports=Ports(audit=audit, budget=budget)) as k:
        k.audit, k.budget = audit, budget
        say_on = after("chinese", 5)

        def script(request):
            reply = say_on(request)
            audit.down = bool(reply.tool_calls)
            return reply

        out = await k.run(
            script, tools=("chinese",), limits={"compaction_ratio": 0}, max_runtime=LONG
        )
        assert (out.result.status, out.result.warnings) == (Status.OK, ())
        assert out.activities[-1] == "executus.audit.close"
        await assert_closed_once(k, out)


async def test_a_chinese_reply_over_the_bound_is_paid_once(env):
    async with kit(env, tools=[note]) as k:
        asked = []

        def script(request):
            asked.append(request)
            text = '{"text":"' + "漢" * 262_000 + '"}'
            return say("fin") if len(asked) > 1 else calls(*[("note", text)] * 3)

        out = await k.run(script, tools=("note",), max_runtime=LONG)
    assert (out.result.status, out.result.output, len(asked)) == (Status.OK, "fin", 2)
    assert out.activities.count("executus.model") == 2
    (kept,) = (m.message for m in asked[1].messages if m.message.role == "assistant")
    assert len(kept.tool_calls) == 1
    assert json_bytes(kept) <= MAX_REPLY_BYTES
    assert out.activities.count("tool.note") == 1
    assert [s.status for s in out.result.steps] == ["complete"] * 3


async def test_a_chinese_prompt_over_the_bound_is_refused_before_it_is_sent(env):
    async with kit(env) as k:
        with pytest.raises(RequestError, match="bytes; the limit is 1,000,000") as refused:
            await k.start([say("fin")], prompt="漢" * 800_000)
        assert refused.value.reason is Reason.TOO_LARGE
        out = await k.run([say("fin")], prompt="漢" * 300_000)
        assert out.result.status is Status.OK


async def test_a_chinese_plan_over_the_bound_is_refused(env):
    wordy = RunnableAgent(name="wordy", system_prompt="漢" * 400_000)
    async with kit(env, agents=[wordy]) as k:
        handle = await k.runs.start(
            RunRequest(agent="wordy", invocation=Invocation(prompt="go", caller_id="ann"))
        )
        out = await k.outcome(handle.id)
    assert (out.result.status, out.result.reason) == (Status.ERROR, Reason.TOO_LARGE)
    assert "limit 900,000" in (out.result.error or "")
    assert "executus.model" not in out.activities


async def of_one(k, name: str) -> Outcome:
    """A run of one call."""
    RAN.clear()
    return await k.run(
        [call(name), say("fin")], tools=(name,), max_runtime=LONG, limits={"compaction_ratio": 0}
    )


@pytest.mark.parametrize(("name", "effect"), [("pay_once", "once"), ("pay", "idempotent")])
async def test_a_result_that_grows_in_json_is_cut_and_its_tool_ran_once(env, name, effect):
    async with kit(env, tools=[pay_once, pay]) as k:
        out = await of_one(k, name)
        assert out.result.status is Status.OK
        assert [effect] == RAN
        (step,) = (s for s in out.result.steps if s.kind == f"tool.{name}")
        assert step.status == "complete"
        assert step.summary.startswith(f"{name}() → ok, 488.3 KB, cut to 146")
        assert out.activities.count(f"tool.{name}") == 1
        await assert_closed_once(k, out)
    sizes = [
        len(payload.data)
        for event in out.history.events
        if event.HasField("activity_task_completed_event_attributes")
        for payload in event.activity_task_completed_event_attributes.result.payloads
    ]
    assert OUTPUT_BYTES * 0.99 < max(sizes) < OUTPUT_BYTES + 2_000


async def test_what_was_cut_for_its_json_is_read_to_its_end_by_the_model(env, tmp_path):
    heard = []

    def read_on(request):
        if request.messages[-1].message.role == "user":
            return call("pay_once")
        heard.append(request.messages[-1].message.parts[0].text)
        next_page = re.search(r"; next: offset=([0-9]+)\]", heard[-1][:200])
        if len(heard) > 1 and next_page is None:
            return say("read")
        file_id = re.findall(r'file_id="([0-9a-f]{32})"', heard[0])[-1]
        return call("read_more", file_id=file_id, offset=int(next_page[1]) if next_page else 0)

    limits = {"compaction_ratio": 0, "tool_result_bytes": 524_288}
    async with kit(env, tools=[pay_once], files=FileStore(FolderBlobs(tmp_path))) as k:
        out = await k.run(read_on, tools=("pay_once",), max_runtime=LONG, limits=limits)
    assert (out.result.status, out.result.output) == (Status.OK, "read")
    assert all("bytes cut" not in page for page in heard[1:])
    assert "".join(page[page.index("]\n") + 2 :] for page in heard[1:]) == "\x1b" * 500_000


async def test_an_answer_that_grows_in_json_leaves_its_parent_a_result_within_the_bound(env):
    leaf = RunnableAgent(name="leaf", model_tier="scripted/leaf", max_runtime=LONG)
    top = RunnableAgent(
        name="top", model_tier="scripted/top", sub_agents=("leaf",), max_runtime=LONG
    )
    async with kit(env, agents=[top, leaf]) as k:
        k.scripts["leaf"] = [say("\x1b" * 60_000)]
        k.scripts["top"] = [call("agent__leaf", prompt="do"), say("fin")]
        handle = await k.runs.start(
            RunRequest(agent="top", invocation=Invocation(prompt="go", caller_id="ann"))
        )
        out = await k.outcome(handle.id)
        assert out.result.status is Status.OK
        (child,) = [s.child_run_id for s in out.result.steps if s.child_run_id]
        result = (await k.outcome(child)).result
    assert "bytes cut" in result.output
    assert result.steps
    assert json_bytes(result) <= 65_536 + OVERHEAD_BYTES
