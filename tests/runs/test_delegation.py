"""Agents that hand work to agents: child runs, bounded by what their parent has left."""

import asyncio

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from executus import Invocation, Limits, Reason, RunnableAgent, RunRequest, Status
from executus.limits import Defaults
from executus.models.scripted import call, calls, hang, say
from executus.palette import PaletteAsk
from executus.ports import Ports
from executus.step import StepRecord
from executus.stores.caps import CapChange
from executus.stores.memory import MemoryAudit, MemoryBudget

from .kit import Outcome, assert_closed_once, event_name, kit
from .test_long_runs import chain

ASK = call("agent__mid", prompt="do the middle")
DEEP = call("agent__leaf", prompt="do the leaf")


def agent(name: str, **fields) -> RunnableAgent:
    fields.setdefault("max_runtime", 600)
    return RunnableAgent(name=name, model_tier=f"scripted/{name}", **fields)


TOP = agent("top", sub_agents=("mid",))
MID = agent("mid", sub_agents=("leaf",), description="Knows the middle.")
LEAF = agent("leaf", tools=())


async def start(k, name: str = "top", **fields):
    invocation = Invocation(prompt="go", caller_id="ann", tenant_id="acme", **fields)
    return await k.runs.start(RunRequest(agent=name, invocation=invocation))


async def run(k, name: str = "top", **fields) -> Outcome:
    return await k.outcome((await start(k, name, **fields)).id)


def child_ids(out: Outcome) -> list[str]:
    return [step.child_run_id for step in out.result.steps if step.child_run_id]


async def family(k, out: Outcome) -> list[Outcome]:
    """The run and all below it, each replayed, audited once and settled once."""
    found = [out]
    for run_id in child_ids(out):
        found += await family(k, await k.outcome(run_id))
    await assert_closed_once(k, out)
    return found


async def steps_of(k, run_id: str, count: int) -> list[StepRecord]:
    """Wait until the run, which may not have started yet, has so many steps."""
    while True:
        try:
            steps = (await k.runs.state(run_id)).steps
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            steps = ()
        if len(steps) >= count:
            return list(steps)
        await asyncio.sleep(0.02)


async def leaf_of(k, run_id: str) -> str:
    """Wait until two levels below are at work; the leaf's id."""
    for _ in range(2):
        run_id = (await steps_of(k, run_id, 2))[1].child_run_id
    await steps_of(k, run_id, 1)
    return run_id


async def test_three_levels_answer_and_usage_rolls_up(env):
    async with kit(env, agents=[TOP, MID, LEAF]) as k:
        k.scripts.update(top=[ASK, say("top")], mid=[DEEP, say("mid")], leaf=[say("leaf")])
        out = await run(k)
        top, mid, leaf = [o.result for o in await family(k, out)]
        assert (top.status, top.output, top.descendants) == (Status.OK, "top", 2)
        assert (mid.output, mid.descendants, leaf.output) == ("mid", 1, "leaf")
        own = sum(s.usage.total_tokens for s in top.steps if s.kind == "model")
        assert top.usage.total_tokens == own + mid.usage.total_tokens
        assert mid.usage.total_tokens > leaf.usage.total_tokens
        assert [s.kind for s in top.steps] == ["model", "tool.agent__mid", "model"]
        assert out.activities == [
            "executus.resolve",
            "executus.budget.check",
            "executus.audit.start",
            "executus.model",
            "executus.model",
            "executus.budget.commit",
            "executus.audit.close",
        ]
        record = await k.audit.run(mid.run_id)
        assert (record.parent_run_id, record.caller_id) == (top.run_id, "ann")
        assert record.tenant_id == "acme"


async def test_a_child_is_told_only_what_it_is_handed_and_its_parent_hears_its_output(env):
    seen = []

    def parent(request):
        if len(seen) == 0:
            seen.append([t.description for t in request.tools])
            return ASK
        seen.append(request.messages[-1].message.parts[0].text)
        return say("done")

    def child(request):
        seen.append(request.messages[0].message.text)
        return say("the middle is 7")

    async with kit(env, agents=[agent("top", sub_agents=("mid",)), agent("mid")]) as k:
        k.scripts.update(top=parent, mid=child)
        await run(k)
    assert seen[1:] == ["do the middle", "the middle is 7"]


async def test_a_skill_takes_its_inputs_by_its_own_schema(env):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    skill = agent("weather", input_schema=schema)
    shown = []

    def top(request):
        shown.append(request.tools[0].parameters)
        if len(shown) == 1:
            return call("skill__weather", town="Oslo")
        return call("skill__weather", city="Oslo") if len(shown) == 2 else say("ok")

    async with kit(env, agents=[agent("top", skills=("weather",)), skill]) as k:
        k.scripts.update(top=top, weather=[say("rain")])
        out = await run(k)
        assert shown[0] == schema
        first, second = [s for s in out.result.steps if s.kind == "tool.skill__weather"]
        assert (first.status, first.child_run_id, second.status) == ("error", "", "complete")
        assert out.result.descendants == 1
        refused = await run(k, "weather", inputs={"town": "Oslo"})
        assert refused.result.reason is Reason.INVALID_REQUEST
        assert "input_schema" in (refused.result.error or "")


async def test_self_recursion_is_refused_without_audit(env):
    agents = [agent("a", sub_agents=("b", "a")), agent("b", sub_agents=("a",))]
    async with kit(env, agents=agents, ports=Ports()) as k:
        again = ("agent__a", {"prompt": "again"})
        k.scripts.update(
            a=[calls(again, ("agent__b", {"prompt": "go"})), say("a")],
            b=[calls(again), say("b")],
        )
        out = await run(k, "a")
        assert (out.result.status, out.result.descendants) == (Status.OK, 1)
        assert "already at work above" in out.result.steps[1].summary
        (b,) = child_ids(out)
        below = (await k.outcome(b)).result
        assert "already at work above (a > b)" in below.steps[1].summary


async def test_depth_and_number_of_child_runs_are_capped(env):
    agents = [TOP, MID, LEAF]
    limits = Limits(delegation_depth=1)
    async with kit(env, agents=[*agents, agent("flat", sub_agents=("mid",), limits=limits)]) as k:
        k.scripts.update(flat=[ASK, say("x")], mid=[DEEP, say("m")], leaf=[say("l")])
        out = await run(k, "flat")
        (mid,) = child_ids(out)
        assert "2 levels of agents are the limit" in (await k.outcome(mid)).result.steps[1].summary
    few = agent("few", sub_agents=("leaf",), limits=Limits(descendants=2))
    async with kit(env, agents=[few, LEAF]) as k:
        turn = calls(*[("agent__leaf", {"prompt": str(n)}) for n in range(3)])
        k.scripts.update(few=[turn, say("x")], leaf=lambda _: say("l"))
        out = await run(k, "few")
        kinds = [s.status for s in out.result.steps if s.kind == "tool.agent__leaf"]
        assert (sorted(kinds), out.result.descendants) == (["complete", "complete", "error"], 2)


async def test_a_child_gets_half_of_what_is_left_and_gives_back_the_rest(env):
    limits = Limits(descendants=8)
    agents = [agent("top", sub_agents=("mid",), limits=limits), MID, LEAF]
    async with kit(env, agents=agents) as k:
        mid = lambda r: DEEP if r.messages[-1].message.role == "user" else say("m")  # noqa: E731
        k.scripts.update(
            top=[*(call("agent__mid", prompt=str(n)) for n in range(4)), say("x")],
            mid=mid,
            leaf=lambda _: say("l"),
        )
        out = await run(k, "top")
        done = [s.status for s in out.result.steps if s.kind == "tool.agent__mid"]
        # 8 - 1 - 3 + 2 = 6, then 4, then 2: the fourth has nothing left for a leaf of its own.
        assert (done, out.result.descendants) == (["complete"] * 4, 7)


async def test_duplicate_and_empty_palette_names_collapse(env):
    top = agent("top", sub_agents=("mid", "", "mid", " "))
    names = []

    def script(request):
        names.extend(t.name for t in request.tools)
        return say("ok")

    async with kit(env, agents=[top, agent("mid")]) as k:
        k.scripts["top"] = script
        assert (await run(k)).result.status is Status.OK
    assert names == ["agent__mid"]


async def test_an_unknown_sub_agent_is_refused_with_the_known_ones(env):
    async with kit(env, agents=[agent("top", sub_agents=("nobody",)), LEAF]) as k:
        out = await run(k)
        assert out.result.reason is Reason.UNKNOWN_AGENT
        assert "'nobody'" in out.result.error
        assert "leaf, top" in out.result.error


async def test_a_host_may_bring_its_own_palette(env):
    class Mine:
        async def find(self, name: str, ask: PaletteAsk):
            return LEAF if (name, ask.caller_id, ask.agent_id) == ("x y", "ann", "top") else None

        async def names(self, ask: PaletteAsk):
            return ("x y",)

    ports = Ports(audit=MemoryAudit(), palette=Mine())
    async with kit(env, agents=[agent("top", sub_agents=("x y",))], ports=ports) as k:
        k.scripts.update(top=[call("agent__x_y", prompt="go"), say("top")], leaf=[say("leaf")])
        assert (await run(k)).result.descendants == 1


async def test_a_failed_childs_partial_output_reaches_the_parent_with_its_status(env):
    said = []

    def top(request):
        said.append(request.messages[-1].message.parts[0])
        return ASK if len(said) == 1 else say("top")

    partial = "Here is what I found so far, and it is a lot of text."
    mid = agent("mid", max_iterations=1, tools=())
    async with kit(env, agents=[agent("top", sub_agents=("mid",)), mid]) as k:
        k.scripts.update(top=top, mid=[call("nope"), say(partial)])
        out = await run(k)
        assert out.result.status is Status.OK
        result = said[1]
        assert result.outcome == "error"
        assert result.text.startswith("status error (max_iterations): ")
        assert result.text.endswith(f"[partial output]\n{partial}")


@pytest.mark.parametrize("how", ["signal", "native"])
async def test_a_cancel_flows_down_three_levels_and_every_level_tells_what_it_used(env, how):
    async with kit(env, agents=[TOP, MID, LEAF]) as k:
        k.scripts.update(top=[ASK], mid=[DEEP], leaf=[hang()])
        handle = await start(k)
        await leaf_of(k, handle.id)
        if how == "signal":
            await k.runs.cancel(handle.id, "enough")
        else:
            await handle.cancel(reason="enough")
        out = await k.outcome(handle.id)
        top, mid, leaf = await family(k, out)
        assert {o.result.status for o in (top, mid, leaf)} == {Status.CANCELLED}
        by = f"cancelled by run {handle.id}"
        assert mid.result.error == f"{by}: its parent stopped: cancelled: enough"
        (stop,) = [row for row in await k.audit.rows(mid.result.run_id) if row.name == "stop"]
        assert stop.body["content"]["by"]["value"] == f"run {handle.id}"
        assert leaf.result.error.endswith("cancelled: enough")
        assert top.result.usage.total_tokens > mid.result.usage.total_tokens > 0
        assert top.result.descendants == 2


async def test_the_deadline_of_the_parent_rules_the_whole_family(env):
    top = TOP.model_copy(update={"max_runtime": 15})
    async with kit(env, agents=[top, MID, LEAF]) as k:
        k.scripts.update(top=[ASK, say("in time")], mid=[DEEP, say("mid")], leaf=[hang()])
        out = await run(k)
        top_, mid, leaf = [o.result for o in await family(k, out)]
        assert (leaf.status, leaf.reason) == (Status.TIMEOUT, Reason.DEADLINE)
        assert leaf.ended_at < out.result.ended_at
        assert (mid.status, top_.status, top_.output) == (Status.OK, Status.OK, "in time")
        assert (top_.ended_at - top_.started_at).total_seconds() < 15


async def test_a_childs_token_limit_is_what_its_parent_has_left(env):
    limits = Limits(tokens=3_000, max_output_tokens=300)
    top = agent("top", sub_agents=("mid",), limits=limits)
    mid = agent("mid", sub_agents=("leaf",), limits=Limits(max_output_tokens=300))
    leaf = agent("leaf", limits=Limits(max_output_tokens=300))
    talk = "word " * 400
    async with kit(env, agents=[top, mid, leaf], defaults=Defaults(summary_tier=None)) as k:
        k.scripts.update(
            top=[ASK, say("top")], mid=[DEEP, say("m")], leaf=lambda _: [call("x", t=talk)][0]
        )
        out = await run(k)
        top_, mid_, leaf_ = [o.result for o in await family(k, out)]
        assert (leaf_.status, leaf_.reason) == (Status.BUDGET_EXCEEDED, Reason.TOKEN_LIMIT)
        assert mid_.usage.total_tokens <= 3_000
        assert top_.usage.total_tokens <= 3_000
        assert {top_.status, mid_.status} <= {Status.OK, Status.BUDGET_EXCEEDED}


async def test_a_rejected_child_is_a_result_for_its_parent(env):
    audit, budget = MemoryAudit(), MemoryBudget()
    await budget.set_cap(CapChange("caller:*", verdict="unlimited"))
    await budget.set_cap(CapChange("tenant:*", verdict="unlimited"))
    await budget.set_cap(CapChange("agent:top", verdict="unlimited"))
    async with kit(env, agents=[TOP, agent("mid")], ports=Ports(audit=audit, budget=budget)) as k:
        k.scripts.update(top=[ASK, say("without")], mid=[say("never")])
        out = await run(k)
        assert (out.result.status, out.result.output) == (Status.OK, "without")
        assert "budget_exceeded" in out.result.steps[1].summary
        below = (await k.outcome(child_ids(out)[0])).result
        assert (below.status, below.reason) == (Status.BUDGET_EXCEEDED, Reason.BUDGET_REJECTED)


async def test_a_terminated_child_is_an_error_for_its_parent_that_still_counts_its_usage(env):
    async with kit(env, agents=[TOP, MID, LEAF]) as k:
        k.scripts.update(top=[ASK, say("went on")], mid=[DEEP, hang()], leaf=[say("leaf")])
        handle = await start(k)
        mid = (await steps_of(k, handle.id, 2))[1].child_run_id
        await steps_of(k, mid, 3)
        await k.client.get_workflow_handle(mid).terminate("by hand")
        out = await k.outcome(handle.id)
        step = out.result.steps[1]
        assert (step.status, step.usage.total_tokens > 0) == ("error", True)
        assert "executus.child_result" in out.activities
        assert (out.result.status, out.result.output) == (Status.OK, "went on")


async def test_a_terminated_parent_leaves_no_child_at_work(env):
    async with kit(env, agents=[TOP, MID, LEAF]) as k:
        k.scripts.update(top=[ASK], mid=[DEEP], leaf=[hang()])
        handle = await start(k)
        leaf = await leaf_of(k, handle.id)
        await handle.terminate("by hand")
        result = await k.runs.result(leaf)
        assert result.status is Status.CANCELLED
        about = await k.client.get_workflow_handle(leaf).describe()
        assert about.status in {
            WorkflowExecutionStatus.COMPLETED,
            WorkflowExecutionStatus.CANCELED,
        }


async def test_children_are_children_in_the_temporal_ui_and_go_on_after_a_handover(env):
    defaults = Defaults(history_events=50)
    async with kit(
        env, agents=[agent("top", sub_agents=("mid",)), agent("mid")], defaults=defaults
    ) as k:
        asks = [call("agent__mid", prompt=f"part {i}") for i in range(8)]
        k.scripts.update(
            top=lambda r: (
                asks[n]
                if (n := sum(m.message.role == "tool" for m in r.messages)) < 8
                else say("end")
            ),
            mid=lambda _: say("part"),
        )
        handle = await start(k)
        result = await k.runs.result(handle.id)
        assert (result.output, result.descendants) == ("end", 8)
        histories = await chain(k, handle.id)
        assert len(histories) > 1, "one execution only: nothing was handed over"
        names = [event_name(e) for history in histories for e in history.events]
        assert names.count("CHILD_WORKFLOW_EXECUTION_COMPLETED") == 8


async def test_children_of_large_agents_start_a_few_at_a_time(env):
    large = agent("mid", system_prompt="x" * 500_000)
    top = agent("top", sub_agents=("mid",), limits=Limits(parallel_tools=12))
    async with kit(env, agents=[top, large]) as k:
        turn = calls(*[("agent__mid", {"prompt": str(n)}) for n in range(12)])
        k.scripts.update(top=[turn, say("done")], mid=[say("m")])
        out = await run(k)
        assert (out.result.status, out.result.descendants) == (Status.OK, 12)
        await assert_closed_once(k, out)
