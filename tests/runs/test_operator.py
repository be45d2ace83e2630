"""What a person can see and do: queries, the live page, steer, the same id twice, the plugin."""

import asyncio
import dataclasses
from collections import Counter

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from executus import Invocation, Reason, RunnableAgent, RunRequest, Status
from executus.converter import SharedConverter
from executus.errors import ConfigError, ModelError
from executus.metrics import LOADS
from executus.models.registry import Models
from executus.models.scripted import Scripted, call, calls, hang, say
from executus.phase import Phase
from executus.plugin import ExecutusPlugin
from executus.runs import Runs
from executus.tools import ToolContext, tool
from executus.transcript import Transcript, TranscriptPage
from executus.workflows.agent_run import AgentRun

from .gate import Gate
from .kit import kit

SEEN = {}


@tool(effect="pure")
async def look(ctx: ToolContext) -> dict:
    """Tell what a tool may know."""
    SEEN[ctx.run_id] = ctx
    return {"left": ctx.iterations_left, "seconds": ctx.seconds_left, "caller": ctx.caller_id}


@tool(effect="pure")
async def big(n: int) -> str:
    """Return a lot."""
    return f"{n}" * 60_000


async def test_the_state_is_live_and_counts_down(env):
    gate = Gate("tool.look")
    async with kit(env, tools=[look], interceptors=[gate]) as k:
        handle = await k.start([call("look"), say("ok")], tools=("look",))
        await gate.entered.wait()
        state = await k.runs.state(handle.id)
        assert (state.stage, state.status, state.iteration) == ("running", "running", 1)
        assert [s.status for s in state.steps] == ["complete", "running"]
        assert state.steps[1].ended_at is None
        gate.open.set()
        await k.runs.result(handle.id)
        state = await k.runs.state(handle.id)
        assert (state.stage, state.status) == ("closed", "ok")
        assert all(s.ended_at for s in state.steps)


async def test_the_live_page_is_markdown_and_costs_no_event(env):
    gate = Gate("tool.look")
    async with kit(env, tools=[look], interceptors=[gate]) as k:
        handle = await k.start([call("look"), say("ok")], tools=("look",))
        await gate.entered.wait()
        before = (await handle.describe()).history_length
        meta = await handle.query("__temporal_workflow_metadata")
        page = str(meta)
        assert "iteration 1 of 12" in page
        assert "tool.look" in page
        assert (await handle.describe()).history_length == before
        gate.open.set()
        await k.runs.result(handle.id)


async def test_what_a_model_writes_is_seen_in_the_heartbeats_without_secrets(env):
    go, secret = asyncio.Event(), "sk-canary-0123456789abcdefghij"

    class Slow:
        name = "slow"

        async def complete(self, request, progress):
            progress(f"The key is {secret} and {'.' * 180}")  # a cut to 200 goes through the key
            await go.wait()
            raise ModelError("no", fault="request_rejected")

        async def close(self):
            pass

    async with kit(env, models=Models({}, providers=[Slow()])) as k:
        handle = await k.start(None, model_tier="slow/m")
        while "....." not in (seen := await _heartbeats(handle)):
            await asyncio.sleep(0.1)
        go.set()
        assert (await k.runs.result(handle.id)).reason is Reason.REQUEST_REJECTED
        assert "acted 30] and ....." in seen
        assert secret[-8:] not in seen


async def _heartbeats(handle) -> str:
    described = (await handle.describe()).raw_description
    details = [p.heartbeat_details.payloads for p in described.pending_activities]
    return str([payload.data for payloads in details for payload in payloads])


async def test_a_transcript_of_three_megabytes_is_paged(env):
    async with kit(env, tools=[big]) as k:
        script = [calls(*(("big", {"n": i * 10 + j}) for j in range(8))) for i in range(4)]
        out = await k.run([*script, say("ok")], tools=("big",), max_runtime=300)
        assert out.result.status is Status.OK
        handle = k.client.get_workflow_handle(out.result.run_id)
        whole, pages = Transcript(), 0
        while True:
            page = await handle.query("transcript", len(whole), result_type=TranscriptPage)
            pages += 1
            for message in page.messages:
                whole.append(message)
            if len(whole) == page.total:
                break
        assert pages >= 3
        assert len(whole) == 1 + 4 * 9 + 1


async def test_a_tool_knows_its_run_and_its_caller(env):
    async with kit(env, tools=[look]) as k:
        out = await k.run(
            [call("look"), call("look"), say("ok")], tools=("look",), max_iterations=5
        )
        ctx = SEEN[out.result.run_id]
        assert (ctx.caller_id, ctx.agent_id, ctx.iterations_left) == ("ann", "tester", 3)
        assert 0 < ctx.seconds_left <= 60
        assert ctx.idempotency_key.endswith("/m2.t1")


async def test_run_status_answers_from_live_state(env):
    told = []

    def look_at(request):
        told.append(request.messages[-1].message.parts[0].text)
        return say("ok")

    async with kit(env, tools=[look]) as k:
        out = await k.run([call("run_status"), look_at], tools=("look",), max_iterations=7)
    assert '"iteration":1' in told[0]
    assert '"max_iterations":7' in told[0]
    assert out.activities.count("tool.run_status") == 0


async def test_steer_reaches_the_next_model_call_once(env):
    heard = []

    def listen(request):
        heard.append([m.message.text for m in request.messages if m.message.role == "user"])
        return call("look") if len(heard) < 3 else say("ok")

    gate = Gate("tool.look")
    async with kit(env, tools=[look], interceptors=[gate]) as k:
        handle = await k.start(listen, tools=("look",))
        await gate.entered.wait()
        await k.runs.steer(handle.id, "look left")
        gate.open.set()
        out = await k.outcome(handle.id)
        assert out.result.status is Status.OK
    assert [h.count("look left") for h in heard] == [0, 1, 1]


async def test_the_same_id_twice_is_the_same_run_also_after_its_end(env):
    async with kit(env) as k:
        run_id = f"twice-{env.max_cached_workflows}"
        request = k.request([say("once")], run_id=run_id)
        first = await k.runs.run(request)
        second = await k.runs.run(request)
        assert first == second
        assert first.run_id == run_id


async def test_the_ordinary_client_is_enough(env):
    async with kit(env) as k:
        request = k.request([say("hello")])
        result = await k.client.execute_workflow(
            AgentRun.run, request, id=f"plain-{env.max_cached_workflows}", task_queue=k.queue
        )
        assert result.output == "hello"
        assert result.status is Status.OK


async def test_images_and_files_reach_the_model_and_a_blank_prompt_adds_no_text(env):
    seen = []

    def look_at(request):
        seen.append([p.type for p in request.messages[0].message.parts])
        return say("ok")

    async with kit(env) as k:
        request = k.request(look_at)
        extra = {
            "images": [{"mime": "image/png", "data": "aGk="}],
            "files": [{"name": "a.pdf", "mime": "application/pdf", "data": "aGk="}],
        }
        import json

        for prompt in ("look", " "):
            invocation = Invocation.model_validate_json(json.dumps({"prompt": prompt, **extra}))
            await k.runs.run(RunRequest(agent=request.agent, invocation=invocation))
    assert seen == [["text", "image", "file"], ["image", "file"]]


async def test_structured_output_is_validated_and_repaired(env):
    schema = {
        "type": "object",
        "properties": {"total": {"type": "integer"}},
        "required": ["total"],
        "additionalProperties": False,
    }
    async with kit(env) as k:
        out = await k.run(
            [say('{"total": "three"}'), say('```json\n{"total": 3}\n```')], output_schema=schema
        )
        assert (out.result.status, out.result.structured) == (Status.OK, {"total": 3})
        out = await k.run([say("no")] * 5, output_schema=schema)
        assert out.result.reason is Reason.INVALID_OUTPUT
        out = await k.run([say("no")], output_schema={"type": "nonsense"})
        assert out.result.reason is Reason.INVALID_REQUEST
        assert "output_schema" in out.result.error


# -- plugin ----------------------------------------------------------------------------------------


async def test_the_plugin_on_client_and_worker_registers_once(env):
    plugin = ExecutusPlugin(models=Models({}, providers=[Scripted({"s": [say("hi")]})]))
    config = env.client.config()
    config["plugins"] = [plugin]
    client = Client(**config)
    with pytest.warns(UserWarning, match="twice"):
        worker = Worker(client, task_queue="twice", plugins=[plugin])
    async with worker:
        agent = RunnableAgent(name="a", model_tier="scripted/s")
        result = await Runs(client, "twice").run(
            RunRequest(agent=agent, invocation=Invocation(prompt="x"))
        )
        assert result.output == "hi"


class Rot(PayloadCodec):
    """A codec that anybody can see through, but not by grep."""

    async def encode(self, payloads):
        return [self._turn(p, b"rot") for p in payloads]

    async def decode(self, payloads):
        return [self._turn(p, None) for p in payloads]

    @staticmethod
    def _turn(payload, mark):
        from temporalio.api.common.v1 import Payload

        if mark is None:
            return Payload.FromString(bytes(b ^ 0x55 for b in payload.data))
        data = bytes(b ^ 0x55 for b in payload.SerializeToString())
        return Payload(metadata={"encoding": b"rot"}, data=data)


async def test_the_users_codec_and_runner_are_kept_and_payloads_are_unreadable(env):
    config = env.client.config()
    config["data_converter"] = dataclasses.replace(pydantic_data_converter, payload_codec=Rot())
    client = Client(**config)
    async with kit(
        env, tools=[look], client=client, workflow_runner=UnsandboxedWorkflowRunner()
    ) as k:
        out = await k.run(
            [call("look"), say("the canary answer")], tools=("look",), prompt="the canary question"
        )
        assert out.result.output == "the canary answer"
        raw = out.history.to_json()
        assert "canary" not in raw
        out = await k.run([say("done")], phases=(Phase(name="canary"),))
        raw = out.history.to_json()
        assert "phase-1" in raw, "the id of a group of events is readable"
        assert "canary" not in raw, "its label, the phase's name, is not"


async def test_a_default_converter_becomes_executus_own_and_another_is_kept(env):
    plugin = ExecutusPlugin(models=Models({}))
    config = env.client.config()
    for given, kept in (
        (DataConverter.default, SharedConverter),
        (pydantic_data_converter, pydantic_data_converter.payload_converter_class),
    ):
        config["data_converter"] = given
        made = plugin.configure_client(config)
        assert made["data_converter"].payload_converter_class is kept


def test_two_agents_of_one_name_are_refused():
    agent = RunnableAgent(name="a")
    with pytest.raises(ConfigError, match="a"):
        ExecutusPlugin(agents=[agent, agent], models=Models({}))


async def test_workers_that_take_turns_ask_the_workflow_and_the_metric_tells(env):
    """What one worker made, the other asks of the workflow; alone, a worker never has to."""
    metrics = MetricBuffer(10_000)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=metrics))
    address = env.client.service_client.config.target_host
    client = await Client.connect(address, runtime=runtime)
    script = [call("look") for _ in range(9)]
    options = {"disable_eager_activity_execution": True}  # so that any worker may take a step
    async with kit(env, tools=[look], client=client, **options) as k:
        await k.run([*script, say("ok")], tools=("look",))
        alone = loads(metrics)
        # A connection of its own: the SDK allows one worker for a queue and client.
        other = await Client.connect(address, runtime=runtime, plugins=[k.plugin])
        async with Worker(other, task_queue=k.queue, build_id="other", **options):
            outs = await asyncio.gather(
                *(k.run([*script, say(f"ok {n}")], tools=("look",)) for n in range(4))
            )
    assert [o.result.output for o in outs] == [f"ok {n}" for n in range(4)]
    assert alone == {"memory": 10}
    assert loads(metrics)["workflow"] > 0


def loads(metrics: MetricBuffer) -> Counter[str]:
    """Counts of the metric since it was last asked for, by where transcripts came from."""
    found: Counter[str] = Counter()
    for update in metrics.retrieve_updates():
        if update.metric.name == LOADS:
            found[str(update.attributes["source"])] += int(update.value)
    return found


async def test_a_hanging_run_can_be_watched_and_stopped(env):
    async with kit(env) as k:
        handle = await k.start([hang()])
        while (await k.runs.state(handle.id)).steps_total < 1:
            await asyncio.sleep(0.01)
        await k.runs.cancel(handle.id, "\x1b[31mred\x1b[0m\nalert")
        result = await k.runs.result(handle.id)
        assert result.error == "cancelled: [31mred [0m alert"
