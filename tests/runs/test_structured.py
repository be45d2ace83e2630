"""Structured results over the real SDKs and server: native means, `submit`, and all around them."""

import asyncio
import json

import pytest
from pydantic import BaseModel

from executus import Invocation, Reason, RunnableAgent, RunRequest, Status
from executus.delivery_target import DeliveryTarget
from executus.errors import RunError
from executus.limits import Defaults
from executus.message import ToolResultPart
from executus.models.anthropic_messages import AnthropicMessages
from executus.models.openai_chat import OpenAIChat
from executus.models.openai_responses import OpenAIResponses
from executus.models.registry import Models
from executus.models.scripted import Scripted, call, calls, fail, hang, say
from executus.origin import Origin
from executus.phase import Phase
from executus.ports import Ports
from executus.stores.memory import MemoryAudit, MemoryBudget
from executus.tools import tool
from tests import provider_server as http
from tests.provider_server.replies import Call

from .kit import assert_closed_once, kit
from .test_delivery import Box
from .test_long_runs import chain

KEY = "sk-canary-0123456789abcdefghij"
FORMATS = ["anthropic", "openai", "openai-chat"]
RUN = ["executus.resolve", "executus.budget.check", "executus.audit.start"]
CLOSE = ["executus.budget.commit", "executus.audit.close"]
RAN: list[int] = []


class Sum(BaseModel):
    """What was added up."""

    total: int
    note: str | None = None


GOOD = {"total": 3, "note": None}
BAD = {"total": "three", "note": None}


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    RAN.append(a)
    return a + b


@pytest.fixture(autouse=True)
def nothing_ran():
    RAN.clear()


def submit(*results, beside=()):
    """A scripted turn that hands in, after the calls beside it."""
    return calls(*beside, *[("submit", value) for value in results])


@pytest.fixture(scope="module")
async def server_and_kit(env):
    """Each format twice: held to schemas by its own means, and as one that has none."""
    async with http.ProviderServer() as server:
        urls = {"api_key": KEY, "base_url": server.openai_url}
        models = Models(
            {},
            providers=[
                made(name=name + suffix, native_schema=native, **given)
                for suffix, native in (("", True), ("-plain", False))
                for name, made, given in (
                    ("anthropic", AnthropicMessages, {**urls, "base_url": server.anthropic_url}),
                    ("openai", OpenAIResponses, urls),
                    ("openai-chat", OpenAIChat, urls),
                )
            ],
        )
        async with kit(env, tools=[add], models=models) as k:
            yield server, k
        await models.close()


def native_form(body):
    """The schema where each format has it, and whether it is strict."""
    if "output_config" in body:
        return body["output_config"]["format"]["schema"], True
    form = body["text"]["format"] if "text" in body else body["response_format"]["json_schema"]
    return form["schema"], form["strict"]


def tool_names(body):
    return [t.get("name") or t["function"]["name"] for t in body.get("tools", ())]


@pytest.mark.parametrize("wire", FORMATS)
async def test_native_means_bring_the_result_and_a_repair(server_and_kit, wire):
    server, k = server_and_kit
    model = f"claude-native-{wire}-{k.queue}"
    text = json.dumps(GOOD)
    server.script(model, [http.call("add", a=1, b=2), http.say(json.dumps(BAD)), http.say(text)])
    seen = len(server.journal)
    out = await k.run(None, model_tier=f"{wire}/{model}", tools=("add",), output_schema=Sum)
    assert (out.result.status, out.result.structured) == (Status.OK, GOOD), out.result.error
    assert out.result.parsed(Sum) == Sum(total=3)
    step = ["executus.model"]
    assert out.activities == [*RUN, *step, "tool.add", *step * 2, *CLOSE]
    for exchange in server.journal[seen:]:
        schema, strict = native_form(exchange.body)
        assert strict
        assert schema["properties"]["total"]["type"] == "integer"
        assert tool_names(exchange.body) == ["add"]
    assert "does not match the required JSON schema: $.total" in server.journal[-1].raw.decode()
    await assert_closed_once(k, out)


@pytest.mark.parametrize("wire", FORMATS)
async def test_submit_brings_the_result_where_there_are_no_native_means(server_and_kit, wire):
    server, k = server_and_kit
    model = f"claude-plain-{wire}-{k.queue}"
    bad, good = Call("submit", json.dumps(BAD)), Call("submit", json.dumps(GOOD))
    server.script(
        model,
        [http.calls(bad, Call("add", '{"a": 1, "b": 2}')), http.say("so 3"), http.calls(good)],
    )
    seen = len(server.journal)
    tier = f"{wire}-plain/{model}"
    out = await k.run(None, model_tier=tier, tools=("add",), output_schema=Sum)
    assert (out.result.status, out.result.structured) == (Status.OK, GOOD), out.result.error
    step = ["executus.model"]
    assert out.activities == [*RUN, *step, "tool.add", *step * 2, *CLOSE]
    kinds = [(s.kind, s.status) for s in out.result.steps if s.kind.startswith("tool.")]
    assert kinds == [
        ("tool.submit", "error"),
        ("tool.add", "complete"),
        ("tool.submit", "complete"),
    ]
    for exchange in server.journal[seen:]:
        assert tool_names(exchange.body) == ["add", "submit"]
        assert not exchange.body.keys() & {"output_config", "text", "response_format"}
        assert "hand in the result by calling the tool" in exchange.raw.decode()
    last = server.journal[-1].raw.decode()
    assert "not accepted: $.total" in last
    assert "hand the result in by calling the tool" in last, "a text was told of the tool"
    await assert_closed_once(k, out)
    rows = {r.key.partition("#")[0]: r for r in await k.audit.rows(out.result.run_id)}
    assert "three" in str(rows["m1.t1"].body), "the record holds what was handed in"


async def test_a_run_fails_over_from_native_means_to_submit_and_back(server_and_kit):
    server, k = server_and_kit
    native, plain = f"claude-a-{k.queue}", f"b-{k.queue}"
    bad, good = Call("submit", json.dumps(BAD)), Call("submit", json.dumps(GOOD))
    down = http.status(404, error_code="model_not_found")
    server.script(native, [http.call("add", a=1, b=2), down, http.calls(good)])
    server.script(plain, [down, http.calls(bad), down])
    seen = len(server.journal)
    tier = f"anthropic/{native},openai-chat-plain/{plain}"
    out = await k.run(None, model_tier=tier, tools=("add",), output_schema=Sum)
    assert (out.result.status, out.result.structured) == (Status.OK, GOOD), out.result.error
    answered = [s.model.partition("/")[0] for s in out.result.steps if s.kind == "model"]
    assert answered == ["anthropic", "openai-chat-plain", "anthropic"]
    bodies = [e.body for e in server.journal[seen:]]
    assert [tool_names(b) for b in bodies] == [
        ["add"],
        ["add"],
        ["add", "submit"],
        ["add", "submit"],  # a call of it is in the conversation now
    ]
    assert [("output_config" in b) for b in bodies] == [True, True, False, True]
    await assert_closed_once(k, out)


@pytest.fixture
async def k(env):
    scripts = {}
    plain = Scripted(scripts, name="plain", native_schema=False)
    box = Box()
    ports = Ports(audit=MemoryAudit(), budget=MemoryBudget(unlimited_by_default=True), delivery=box)
    agents = [
        RunnableAgent(name="adder", model_tier="plain/adder", output_schema=Sum, tools=("add",)),
        RunnableAgent(name="boss", model_tier="plain/boss", sub_agents=("adder",)),
    ]
    models = Models({}, providers=[plain, Scripted(scripts)])
    async with kit(env, tools=[add], agents=agents, models=models, ports=ports) as made:
        made.scripts, made.box = scripts, box
        made.audit, made.budget = ports.audit, ports.budget
        yield made


async def run(k, script, **fields):
    name = f"p{len(k.scripts)}"
    k.scripts[name] = script
    fields.setdefault("output_schema", Sum)
    return await k.run(None, model_tier=f"plain/{name}", **fields)


async def test_the_first_valid_submission_wins_and_nothing_beside_it_runs(k):
    beside = [("add", {"a": 7, "b": 1})]
    out = await run(
        k, [submit(BAD, GOOD, {"total": 4, "note": None}, beside=beside)], tools=("add",)
    )
    assert (out.result.reason, out.result.structured) == (Reason.ANSWER, GOOD)
    assert json.loads(out.result.output) == GOOD
    assert RAN == []
    assert out.activities == [*RUN, "executus.model", *CLOSE]
    told = [(s.id, s.status, s.summary.split(":")[0]) for s in out.result.steps[1:]]
    assert told[0] == ("m1.t1", "error", "not run")
    assert [status for _, status, _ in told] == ["error", "error", "complete", "error"]
    await assert_closed_once(k, out)


async def test_submitting_on_the_last_step_is_a_success(k):
    script = [call("add", a=1, b=2), submit(GOOD, beside=[("add", {"a": 2, "b": 2})])]
    out = await run(k, script, tools=("add",), max_iterations=2)
    assert (out.result.status, out.result.structured, RAN) == (Status.OK, GOOD, [1])


async def test_the_closing_answer_of_a_run_out_of_steps_may_be_handed_in(k):
    asked = []

    def closing(request):
        asked.append([t.name for t in request.tools])
        return submit(GOOD)

    out = await run(k, [call("add", a=1, b=2), closing], tools=("add",), max_iterations=1)
    assert (out.result.reason, out.result.structured) == (Reason.MAX_ITERATIONS, GOOD)
    assert asked == [["submit"]]
    assert out.close == "FAILED"


async def test_a_result_that_stays_wrong_ends_typed_with_what_there_is(k):
    out = await run(k, [submit(BAD)] * 3, tools=("add",))
    assert (out.result.status, out.result.reason) == (Status.ERROR, Reason.INVALID_OUTPUT)
    assert json.loads(out.result.output) == BAD
    assert out.result.structured is None
    assert "$.total" in out.result.error
    assert out.activities == [*RUN, *["executus.model"] * 3, *CLOSE]
    with pytest.raises(RunError, match="no result"):
        out.result.parsed(Sum)
    await assert_closed_once(k, out)


async def test_a_result_that_is_no_object_is_handed_in_as_one_argument(k):
    out = await run(
        k, [submit({"value": ["x", 1]}), submit({"value": [1, 2]})], output_schema=list[int]
    )
    assert out.result.parsed(list[int]) == [1, 2]
    native = await k.run([submit({"value": [4]})], output_schema=list[int])
    assert native.result.structured == [4], "no provider takes such a schema natively"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"output_schema": {"type": "nonsense"}}, "output_schema: $.type"),
        ({"output_schema": {"$ref": "http://evil/s.json"}}, "nothing is fetched"),
    ],
)
async def test_a_bad_schema_is_refused_before_anything_is_paid(k, fields, why):
    out = await run(k, [say("never")], **fields)
    assert out.result.reason is Reason.INVALID_REQUEST
    assert why in out.result.error
    assert "executus.model" not in out.activities


async def test_a_tool_of_the_hosts_called_submit_is_refused_beside_a_schema(env):
    @tool(name="submit", effect="pure")
    async def own(x: int) -> int:
        """Somebody's own."""
        return x

    async with kit(env, tools=[own]) as k:
        out = await k.run([say("never")], tools=("submit",), output_schema=Sum)
        assert out.result.reason is Reason.INVALID_REQUEST
        assert "rename it" in out.result.error
        out = await k.run([call("submit", x=1), say("done")], tools=("submit",))
        assert (out.result.output, "tool.submit" in out.activities) == ("done", True)


async def test_the_last_phase_hands_in_also_when_it_is_bare(k):
    k.scripts["one"], k.scripts["two"] = [say("found 3")], [submit(GOOD)]
    phases = (
        Phase(name="Find", model_tier="plain/one"),
        Phase(name="Say", model_tier="plain/two", bare=True, system_prompt="{{Find}}"),
    )
    out = await run(k, [], phases=phases)
    assert (out.result.status, out.result.structured) == (Status.OK, GOOD), out.result.error
    assert [(s.phase, s.kind) for s in out.result.steps] == [
        ("Find", "model"),
        ("Say", "model"),
        ("Say", "tool.submit"),
    ]


async def test_a_childs_result_reaches_its_parents_model_as_json(k):
    heard = []

    def listen(request):
        part = request.messages[-1].message.parts[0]
        assert isinstance(part, ToolResultPart)
        heard.append(json.loads(part.text))
        return say("thanks")

    k.scripts["boss"] = [call("agent__adder", prompt="add"), listen]
    k.scripts["adder"] = [submit(GOOD)]
    request = RunRequest(agent="boss", invocation=Invocation(prompt="go", caller_id="ann"))
    out = await k.outcome((await k.runs.start(request)).id)
    assert (out.result.output, heard) == ("thanks", [GOOD])


async def test_repairs_are_counted_over_continue_as_new(env):
    defaults = Defaults(history_events=50, max_runtime=600)
    scripts = {}
    models = Models({}, providers=[Scripted(scripts, name="plain", native_schema=False)])

    def script(request):
        made = [c for m in request.messages for c in m.message.tool_calls]
        return submit(BAD) if len(made) % 4 == 1 else call("add", a=len(made), b=1)

    scripts["long"] = script
    async with kit(env, tools=[add], models=models, defaults=defaults) as k:
        out = await k.run(
            None,
            model_tier="plain/long",
            tools=("add",),
            output_schema=Sum,
            max_iterations=99,
            limits={"output_repairs": 3},
        )
        assert out.result.reason is Reason.INVALID_OUTPUT
        assert len(await chain(k, out.result.run_id)) > 1
        assert sum(s.kind == "tool.submit" for s in out.result.steps) == 4


async def test_a_fork_goes_on_behind_a_result_and_hands_in_another(k):
    first = await run(k, [submit(GOOD, beside=[("add", {"a": 1, "b": 1})])], tools=("add",))
    k.scripts["more"] = lambda request: submit(
        {"total": 4, "note": request.messages[-1].message.text}
    )
    origin = Origin(run_id=first.result.run_id)
    handle = await k.runs.fork(origin, prompt="one more", model_tier="plain/more")
    out = await k.outcome(handle.id)
    assert out.result.structured == {"total": 4, "note": "one more"}
    assert out.result.status is Status.OK


async def test_a_fork_that_asks_nothing_new_has_the_result_made_again(k):
    first = await run(k, [call("add", a=1, b=2), submit(GOOD)], tools=("add",))
    seen = []

    def again(request):
        seen.append([m.message.role for m in request.messages])
        return submit({"total": 5, "note": None})

    k.scripts["again"] = again
    origin = Origin(run_id=first.result.run_id)
    handle = await k.runs.fork(origin, model_tier="plain/again")
    out = await k.outcome(handle.id)
    assert out.result.structured == {"total": 5, "note": None}
    assert seen == [["user", "assistant", "tool"]], "nobody tells the model that it is done"


async def test_the_value_is_in_what_is_delivered(k):
    out = await run(k, [submit(GOOD)], delivery=DeliveryTarget(kind="box", address="here"))
    assert out.result.delivery is not None
    (item,) = k.box.items
    assert item.event.data.structured == GOOD


async def test_a_secret_in_a_result_is_in_neither_the_record_nor_the_page(k):
    value = {"total": 3, "note": KEY}
    out = await run(k, [submit({"total": "x", "note": KEY}), submit(value)])
    assert out.result.structured == value, "the caller gets what the model said"
    rows = await k.audit.rows(out.result.run_id)
    assert KEY not in str([row.body for row in rows])
    assert not any(KEY in step.summary for step in out.result.steps)


async def test_a_cancel_while_the_result_is_awaited_keeps_the_outcome_typed(k):
    k.scripts["hangs"] = [submit(BAD), hang()]
    request = k.request(None, model_tier="plain/hangs", output_schema=Sum)
    handle = await k.runs.start(request)
    while len((await k.runs.state(handle.id)).steps) < 3:
        await asyncio.sleep(0.02)
    await k.runs.cancel(handle.id)
    out = await k.outcome(handle.id)
    assert (out.result.status, out.result.structured) == (Status.CANCELLED, None)


async def test_a_large_result_passes_whole_and_a_larger_one_goes_back(k):
    large = {"total": 1, "note": "n" * 250_000}
    larger = json.dumps({"total": 1, "note": "ü" * 140_000}, ensure_ascii=False)
    out = await run(k, [submit(larger), submit(large)])
    assert out.result.structured == large
    rejected = next(s for s in out.result.steps if s.kind == "tool.submit")
    assert "the limit is 262,144" in rejected.summary


async def test_a_failing_model_behind_a_wrong_result_leaves_the_models_fault(k):
    out = await run(k, [submit(BAD), fail("request_rejected", "no")])
    assert (out.result.reason, out.result.structured) == (Reason.REQUEST_REJECTED, None)
