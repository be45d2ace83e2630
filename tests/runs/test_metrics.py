"""What a worker counts, and that it counts it once, also where every task is a replay."""

from collections import Counter

import pytest
from temporalio.client import Client
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig

from executus import Invocation, RunnableAgent, RunRequest, Status
from executus.metrics import (
    COST,
    MODEL_CALLS,
    MODEL_SECONDS,
    RUN_SECONDS,
    RUNS,
    TOKENS,
    TOOL_CALLS,
    TOOL_SECONDS,
)
from executus.models.registry import Models
from executus.models.scripted import Scripted, call, fail, say
from executus.plan import Price
from executus.tools import ToolRetry, tool

from .kit import kit

TRIES = Counter()


@tool(effect="pure")
async def flaky(ctx_key: str) -> str:
    """Fail the first time."""
    TRIES[ctx_key] += 1
    if TRIES[ctx_key] == 1:
        raise ToolRetry("again")
    return "ok"


@pytest.fixture
async def metered(env):
    """A kit whose client counts, and a function that tells what was counted since."""
    buffer = MetricBuffer(10_000)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=buffer))
    address = env.client.service_client.config.target_host
    client = await Client.connect(address, runtime=runtime)
    scripts = {}
    models = Models(
        {"fast": "scripted/down,scripted/up"},
        providers=[Scripted(scripts)],
        prices={"scripted/up": Price(input=1_000_000, output=2_000_000)},
    )
    agents = [
        RunnableAgent(name="boss", sub_agents=("clerk",), max_iterations=3),
        RunnableAgent(name="clerk", tools=("flaky",), max_iterations=3),
    ]
    async with kit(env, tools=[flaky], agents=agents, models=models, client=client) as k:
        k.scripts = scripts
        yield k, lambda: counted(buffer)


def counted(buffer: MetricBuffer) -> dict[str, dict[tuple[str, ...], float]]:
    """Sums of executus' own metrics: of counters their values, of histograms how often."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for update in buffer.retrieve_updates():
        name = update.metric.name
        if name.startswith("executus_"):
            drop = {"namespace", "task_queue", "activity_type", "workflow_type", "service_name"}
            labels = {k: str(v) for k, v in update.attributes.items() if k not in drop}
            key = tuple(labels[k] for k in sorted(labels))
            value = 1 if name.endswith("_seconds") else update.value
            sums = found.setdefault(name, {})
            sums[key] = sums.get(key, 0) + value
    return found


async def start(k, agent, script=None):
    request = RunRequest(agent=agent, invocation=Invocation(prompt="do it"))
    handle = await k.runs.start(request)
    return await k.outcome(handle.id)


async def test_a_run_its_calls_and_its_child_are_counted_once(metered, env):
    k, told = metered
    key = f"k{env.max_cached_workflows}"

    def answer(request):
        done = request.messages[-1].message
        if request.tools and request.tools[0].name == "agent__clerk":
            return say("done") if done.role == "tool" else call("agent__clerk", prompt="go")
        return say("filed") if done.role == "tool" else call("flaky", ctx_key=key)

    k.scripts.update(down=lambda request: fail("not_found", "gone"), up=answer)
    out = await start(k, "boss")
    assert out.result.status is Status.OK, out.result.error
    found = told()
    assert found[RUNS] == {("boss", "answer", "ok"): 1, ("clerk", "answer", "ok"): 1}
    assert found[RUN_SECONDS] == {("boss", "ok"): 1, ("clerk", "ok"): 1}
    calls = {("scripted/up", "ok"): 4, ("scripted/down", "not_found"): 4}
    assert found[MODEL_CALLS] == found[MODEL_SECONDS] == calls
    tools = {("retry", "flaky"): 1, ("ok", "flaky"): 1}
    assert found[TOOL_CALLS] == found[TOOL_SECONDS] == tools
    usage = out.result.usage
    assert found[TOKENS] == {
        ("input", "scripted/up"): usage.input_tokens,
        ("output", "scripted/up"): usage.output_tokens,
    }
    assert found[COST] == {("scripted/up",): out.result.cost_micro_usd}


async def test_what_callers_say_is_no_label(metered):
    k, told = metered
    k.scripts.update(down=[], up=[fail("request_rejected", "no"), say("late")])
    agent = RunnableAgent(name="of-the-caller", model_tier="scripted/up")
    out = await start(k, agent)
    assert out.result.status is Status.ERROR
    out = await start(k, "nobody-registered-it")
    assert out.result.status is Status.ERROR
    found = told()
    assert found[RUNS] == {
        ("inline", "request_rejected", "error"): 1,
        ("none", "unknown_agent", "error"): 1,
    }
    assert found[MODEL_CALLS] == {("scripted/up", "request_rejected"): 1}
    assert TOKENS not in found
