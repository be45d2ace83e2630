"""Every way a run can end: in its typed status, with its steps, closed and settled once."""

import asyncio

import pytest
from temporalio.client import Client

from executus import Reason, RunnableAgent, Status
from executus.limits import Defaults
from executus.models.registry import Models
from executus.models.scripted import Scripted, call, calls, fail, hang, say
from executus.plan import Price
from executus.ports import Ports
from executus.stores.memory import MemoryBudget
from executus.tools import ToolContext, ToolError, tool

from .gate import Gate
from .kit import assert_closed_once, kit

R, S = Reason, Status
LIFE = ["executus.resolve", "executus.budget.check", "executus.audit.start"]
END = ["executus.budget.commit", "executus.audit.close"]
MODEL = "executus.model"


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def boom() -> str:
    """Fail."""
    raise ToolError("the printer is on fire")


@tool
async def bug() -> str:
    """Have a bug."""
    raise ZeroDivisionError("oops")


@tool(effect="pure")
async def flood(size: int) -> str:
    """Return a lot."""
    return "x" * size


@tool(timeout=0.3)
async def slow_once() -> str:
    """Take too long, with an effect."""
    await asyncio.sleep(60)
    return "late"


@tool(timeout=0.3, effect="pure")
async def slow_pure() -> str:
    """Take too long, without an effect."""
    await asyncio.sleep(60)
    return "late"


@tool(timeout=3_600)
async def wait(ctx: ToolContext) -> str:
    """Wait for ever."""
    await asyncio.sleep(3_600)
    return "never"


TOOLS = [add, boom, bug, flood, slow_once, slow_pure, wait]
NAMES = tuple(t.name for t in TOOLS)


@pytest.fixture(scope="module")
async def k(env):
    async with kit(env, tools=TOOLS, defaults=Defaults(heartbeat_seconds=2)) as made:
        yield made


def adds(n):
    return [call("add", a=i, b=i) for i in range(n)]


ENDINGS = {
    "answer": ([say("42")], {}, S.OK, R.ANSWER, "42", [MODEL]),
    "answer after a tool": (
        [call("add", a=1, b=2), say("3")],
        {},
        S.OK,
        R.ANSWER,
        "3",
        [MODEL, "tool.add", MODEL],
    ),
    "max_iterations": (
        [*adds(2), say("so far")],
        {"max_iterations": 2},
        S.ERROR,
        R.MAX_ITERATIONS,
        "so far",
        [MODEL, "tool.add", MODEL, MODEL],
    ),
    "tool loop": (
        [call("add", a=1, b=1)] * 3,
        {},
        S.ERROR,
        R.TOOL_LOOP,
        "",
        [MODEL, "tool.add"] * 3,
    ),
    "all-error steps": (
        [call("boom")] * 3,
        {},
        S.ERROR,
        R.TOOL_ERRORS,
        "",
        [MODEL, "tool.boom"] * 3,
    ),
    "bad tool arguments": (
        [call("add", a="one"), calls(("add", "{not json")), say("gave up")],
        {},
        S.OK,
        R.ANSWER,
        "gave up",
        [MODEL, "tool.add", MODEL, MODEL],
    ),
    "unknown tool": (
        [call("rm_rf"), say("sorry")],
        {},
        S.OK,
        R.ANSWER,
        "sorry",
        [MODEL, MODEL],
    ),
    "tool exception": (
        [call("bug"), say("noted")],
        {},
        S.OK,
        R.ANSWER,
        "noted",
        [MODEL, "tool.bug", MODEL],
    ),
    "tool time-out": (
        [calls(("slow_once", {}), ("slow_pure", {})), say("noted")],
        {},
        S.OK,
        R.ANSWER,
        "noted",
        [MODEL, "tool.slow_once", "tool.slow_pure", MODEL],
    ),
    "oversize tool result": (
        [call("flood", size=8_000_000), say("noted")],
        {},
        S.OK,
        R.ANSWER,
        "noted",
        [MODEL, "tool.flood", MODEL],
    ),
    "length-cut tool call": (
        [calls(("add", {"a": 1, "b": 1})), say("short")],
        {},
        S.OK,
        R.ANSWER,
        "short",
        [MODEL, "tool.add", MODEL],
    ),
    "refusal": ([say("no", stop="refusal")], {}, S.ERROR, R.MODEL_REFUSED, "no", [MODEL]),
    "length-cut answer": (
        [say("half", stop="length")],
        {},
        S.ERROR,
        R.MODEL_INCOMPLETE,
        "half",
        [MODEL],
    ),
    "script exhausted": ([], {}, S.ERROR, R.MODEL_UNAVAILABLE, "", [MODEL]),
    "rejected request": (
        [fail("request_rejected", "bad")],
        {},
        S.ERROR,
        R.REQUEST_REJECTED,
        "",
        [MODEL],
    ),
    "bad key": ([fail("provider_auth", "key")], {}, S.ERROR, R.PROVIDER_AUTH, "", [MODEL]),
    "no quota": ([fail("provider_quota", "pay")], {}, S.ERROR, R.PROVIDER_QUOTA, "", [MODEL]),
    "overload that passes": (
        [fail("overloaded", "busy", times=2, then=say("at last"))],
        {"max_runtime": 600},
        S.OK,
        R.ANSWER,
        "at last",
        [MODEL],
    ),
    "overload that stays": (
        [fail("overloaded", "busy")],
        {"max_runtime": 7_200},
        S.ERROR,
        R.MODEL_UNAVAILABLE,
        "",
        [MODEL],
    ),
    "a day's Retry-After": (
        [fail("rate_limited", "slow down", retry_after=86_400)],
        {"max_runtime": 600},
        S.ERROR,
        R.MODEL_UNAVAILABLE,
        "",
        [MODEL],
    ),
    "deadline in a model call": (
        [hang()],
        {"max_runtime": 1.0},
        S.TIMEOUT,
        R.DEADLINE,
        "",
        [MODEL],
    ),
    "deadline in a tool": (
        [call("wait")],
        {"max_runtime": 1.0},
        S.TIMEOUT,
        R.DEADLINE,
        "",
        [MODEL, "tool.wait"],
    ),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_ending(k, name):
    script, fields, status, reason, output, steps = ENDINGS[name]
    if name == "length-cut tool call":
        script = [
            _cut(script[0]),
            *script[1:],
        ]
        steps = [MODEL, MODEL]
    out = await k.run(script, tools=NAMES, **fields)
    assert (out.result.status, out.result.reason) == (status, reason), out.result.error
    assert out.result.output == output
    assert sorted(out.activities) == sorted([*LIFE, *steps, *END])
    assert (out.result.error is None) == (status is S.OK)
    assert out.close == ("COMPLETED" if status is S.OK else "FAILED")
    await assert_closed_once(k, out)


def _cut(reply):
    import dataclasses

    return dataclasses.replace(reply, stop="length")


async def test_a_failed_run_shows_a_sentence_and_no_stack_trace(k):
    out = await k.run([call("boom")] * 3, tools=NAMES)
    failure = out.history.events[-1].workflow_execution_failed_event_attributes.failure
    assert failure.message.startswith("tool_errors: every tool call failed in 3 steps in a row (")
    assert failure.application_failure_info.type == "executus.error"
    assert failure.stack_trace == ""


async def test_a_tool_error_reaches_the_model_word_for_word(k):
    told = []

    def look(request):
        told.append(request.messages[-1].message.parts[0].text)
        return say("ok")

    await k.run([call("boom"), look], tools=NAMES)
    assert told == ["the printer is on fire"]


async def test_an_oversize_result_is_cut_with_head_tail_and_digest(k):
    told = []

    def look(request):
        told.append(request.messages[-1].message.parts[0])
        return say("ok")

    out = await k.run([call("flood", size=8_000_000), look], tools=NAMES)
    (part,) = told
    assert part.truncated
    assert part.bytes == 8_000_000
    assert len(part.text.encode()) <= 65_536
    assert part.digest in part.text
    assert sum(e.ByteSize() for e in out.history.events) < 200_000


# -- refused before anything is paid ---------------------------------------------------------------


async def test_an_unknown_tier_is_refused_and_audited(k):
    out = await k.run(None, model_tier="nonsense")
    assert (out.result.status, out.result.reason) == (S.ERROR, R.UNKNOWN_TIER)
    assert "nonsense" in out.result.error
    assert out.activities == ["executus.resolve", "executus.audit.close"]
    await assert_closed_once(k, out, reserved=False)


async def test_a_missing_tool_is_refused_and_audited(k):
    out = await k.run([say("x")], tools=("add", "nope"))
    assert out.result.reason is R.UNKNOWN_TOOL
    assert "nope" in out.result.error
    assert "; tools this agent may have: " in out.result.error
    assert "ask_human" in out.result.error
    await assert_closed_once(k, out, reserved=False)


async def test_an_unknown_agent_names_the_known_ones(env):
    async with kit(env, agents=[RunnableAgent(name="known")]) as k:
        request = k.request([say("x")]).model_copy(update={"agent": "nobody"})
        result = await k.runs.run(request)
        assert result.reason is R.UNKNOWN_AGENT
        assert "known" in result.error


async def test_an_agent_started_by_name_runs(env):
    agent = RunnableAgent(name="known", model_tier="scripted/echo", max_runtime=30)
    async with kit(env, agents=[agent]) as k:
        request = k.request(None, prompt="hello").model_copy(update={"agent": "known"})
        assert (await k.runs.run(request)).output == "hello"


async def test_nothing_asked_is_an_invalid_request(k):
    out = await k.run([say("x")], prompt="  ")
    assert out.result.reason is R.INVALID_REQUEST
    await assert_closed_once(k, out, reserved=False)


async def test_a_budget_rejection_calls_no_model(env):
    async with kit(env, ports=Ports(budget=MemoryBudget())) as k:
        out = await k.run([say("never")])
        assert (out.result.status, out.result.reason) == (S.BUDGET_EXCEEDED, R.BUDGET_REJECTED)
        assert out.activities == ["executus.resolve", "executus.budget.check"]
        assert out.close == "FAILED"


async def test_a_rejected_run_is_audited(env):
    async with kit(env) as k:
        k.budget._unlimited = False
        out = await k.run([say("never")])
        assert out.result.status is S.BUDGET_EXCEEDED
        assert out.activities == [*LIFE[:2], "executus.audit.close"]
        await assert_closed_once(k, out, reserved=False)


async def test_an_oversize_request_is_refused_before_it_starts(k):
    from executus.errors import RequestError

    images = [{"mime": "image/png", "data": b"x" * 600_000}] * 2
    request = k.request([say("x")])
    invocation = request.invocation.model_validate({"prompt": "look", "images": images})
    with pytest.raises(RequestError, match="limit"):
        await k.runs.run(request.model_copy(update={"invocation": invocation}))


async def test_an_oversize_request_of_an_ordinary_client_ends_too_large(k):
    raw = {"agent": {"name": "a"}, "invocation": {"prompt": "x" * 1_100_000}}
    handle = await k.client.start_workflow(
        "executus.AgentRun", raw, id="too-large", task_queue=k.queue
    )
    out = await k.outcome(handle.id)
    assert out.result.reason is R.TOO_LARGE


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "text",
        7,
        [],
        {},
        {"agent": {"name": "a", "colour": "red"}},
        {"agent": {"name": "a", "phases": [{"name": "p"}]}},
        {"agent": {"name": "a", "max_runtime": -1}},
        {"agent": {"name": "a"}, "invocation": {"run_id": "another"}},
        {"agent": {"name": "a"}, "invocation": {"images": [{"mime": "image/png", "data": "!"}]}},
    ],
)
async def test_a_request_that_does_not_validate_ends_in_a_typed_status(k, raw):
    import uuid

    run_id = f"raw-{uuid.uuid4().hex[:6]}"
    await k.client.start_workflow("executus.AgentRun", raw, id=run_id, task_queue=k.queue)
    out = await k.outcome(run_id)
    assert (out.result.status, out.result.reason) == (S.ERROR, R.INVALID_REQUEST)
    await assert_closed_once(k, out, reserved=False)


async def test_a_workflow_started_without_an_argument_ends_too(k):
    await k.client.start_workflow("executus.AgentRun", id="no-argument", task_queue=k.queue)
    result = await k.runs.result("no-argument")
    assert result.status is S.ERROR


# -- ports that break ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("executus.resolve", S.ERROR, R.PORT_FAILED),
        ("executus.budget.check", S.BUDGET_EXCEEDED, R.BUDGET_UNAVAILABLE),
        ("executus.audit.start", S.OK, R.ANSWER),
        ("executus.model", S.ERROR, R.INTERNAL),
        ("tool.add", S.OK, R.ANSWER),
        ("executus.budget.commit", S.OK, R.ANSWER),
        ("executus.audit.close", S.OK, R.ANSWER),
    ],
)
async def test_a_bug_in_an_activity_ends_the_run(env, kind, status, reason):
    gate = Gate(kind, error=ZeroDivisionError("bug in the host"))
    async with kit(env, tools=TOOLS, interceptors=[gate]) as k:
        script = [call("add", a=1, b=1), say("done")]
        out = await k.run(script, tools=NAMES, max_runtime=3_600)
        assert (out.result.status, out.result.reason) == (status, reason), out.result.error
        assert gate.count >= 1
        late = kind in END
        assert bool(out.result.warnings) == late
        if not late:
            before = ("executus.resolve", "executus.budget.check")
            await assert_closed_once(k, out, reserved=kind not in before)


async def test_a_bug_in_workflow_code_fails_the_run_and_closes_it(env, monkeypatch):
    def broken(*args):
        raise KeyError("our own bug")

    monkeypatch.setattr("executus.workflows.replies.final_answer", broken)
    async with kit(env) as k:
        handle = await k.start([say("x")])
        result = await k.runs.result(handle.id)
        assert (result.status, result.reason) == (S.ERROR, R.INTERNAL)
        assert "our own bug" in result.error
        assert (await k.audit.run(handle.id)).n_close == 1


# -- limits ----------------------------------------------------------------------------------------


async def test_a_token_limit_ends_with_what_was_done(k):
    out = await k.run(
        [call("add", a=1, b=1), *adds(50)],
        tools=NAMES,
        limits={"tokens": 2_000, "max_output_tokens": 300},
        max_iterations=100,
    )
    assert (out.result.status, out.result.reason) == (S.BUDGET_EXCEEDED, R.TOKEN_LIMIT)
    assert 0 < out.result.usage.total_tokens <= 2_000
    assert out.result.steps
    await assert_closed_once(k, out)


async def test_a_money_limit_ends_with_what_was_done(env):
    scripts = {"s": adds(50)}
    models = Models(
        {},
        providers=[Scripted(scripts)],
        prices={"scripted/s": Price(input=1_000_000, output=4_000_000, version="test")},
    )
    async with kit(env, tools=TOOLS, models=models) as k:
        out = await k.run(
            None,
            model_tier="scripted/s",
            tools=NAMES,
            limits={"micro_usd": 5_000, "max_output_tokens": 300},
            max_iterations=100,
        )
        assert (out.result.status, out.result.reason) == (S.BUDGET_EXCEEDED, R.COST_LIMIT)
        assert 0 < out.result.cost_micro_usd <= 5_000


async def test_unlimited_budget_but_no_port_is_a_bounded_in_memory_run(env):
    async with kit(env, ports=Ports(), tools=TOOLS) as k:
        out = await k.run([call("add", a=1, b=2), say("3")], tools=NAMES)
        assert out.result.output == "3"
        assert out.activities == ["executus.resolve", MODEL, "tool.add", MODEL]
        assert out.result.audit_head is None


# -- at the limit ----------------------------------------------------------------------------------


async def test_wrap_up_ends_with_one_last_answer_within_the_limit(k):
    def talk(request):
        if request.tool_choice == "none":
            return say("this is what I have")
        return call("add", a=len(request.messages), b=1)

    limits = {"tokens": 6_000, "max_output_tokens": 300, "at_limit": "wrap_up"}
    out = await k.run(talk, tools=NAMES, limits=limits, max_iterations=100)
    assert (out.result.status, out.result.reason) == (S.BUDGET_EXCEEDED, R.TOKEN_LIMIT)
    assert out.result.output == "this is what I have"
    assert out.result.usage.total_tokens <= 6_000
    await assert_closed_once(k, out)


async def test_ask_pauses_until_the_limit_is_raised(env):
    # A client of its own: with time skipping, a run that waits for a person is at its deadline.
    client = await Client.connect(env.client.service_client.config.target_host)
    async with kit(env, tools=TOOLS, client=client) as k:
        await _ask(k)


async def _ask(k):
    from executus.errors import UserError

    def talk(request):
        done = len(request.messages) // 2
        return call("add", a=done, b=1) if done < 6 else say("done")

    limits = {"tokens": 1_500, "max_output_tokens": 300, "at_limit": "ask"}
    handle = await k.start(talk, tools=NAMES, limits=limits, max_iterations=50, max_runtime=300)
    while (await k.runs.state(handle.id)).stage != "paused":
        await asyncio.sleep(0.02)
    with pytest.raises(UserError, match="not above"):
        await k.runs.raise_limits(handle.id, tokens=1_000)
    with pytest.raises(UserError, match="nothing to raise"):
        await k.runs.raise_limits(handle.id)
    state = await k.runs.raise_limits(handle.id, tokens=100_000, by="ann")
    assert state.tokens_limit == 100_000
    out = await k.outcome(handle.id)
    assert (out.result.status, out.result.output) == (S.OK, "done")
    rows = str(await k.audit.rows(handle.id))
    assert "limits raised by ann" in rows
    await assert_closed_once(k, out)


async def test_no_limit_is_raised_for_a_run_that_gives_its_last_answer(env):
    from executus.errors import UserError

    gate = Gate("executus.model")
    client = await Client.connect(env.client.service_client.config.target_host)
    async with kit(env, tools=TOOLS, client=client, interceptors=[gate]) as k:

        def talk(request):
            gate.open.clear()  # the next one is the closing answer
            gate.entered.clear()
            return call("add", a=1, b=1) if len(request.messages) == 1 else say("so far")

        handle = await k.start(talk, tools=NAMES, max_iterations=1)
        gate.open.set()
        while not any("closing" in s.id for s in (await k.runs.state(handle.id)).steps):
            await asyncio.sleep(0.02)
        with pytest.raises(UserError, match="is giving its last answer"):
            await k.runs.raise_limits(handle.id, iterations=10)
        gate.open.set()
        out = await k.outcome(handle.id)
        assert (out.result.reason, out.result.output) == (R.MAX_ITERATIONS, "so far")
        await assert_closed_once(k, out)


async def test_a_paused_run_still_has_its_deadline(k):
    limits = {"tokens": 300, "max_output_tokens": 290, "at_limit": "ask"}
    out = await k.run([say("never")], limits=limits, max_runtime=3_600, prompt="word " * 400)
    assert (out.result.status, out.result.reason) == (S.TIMEOUT, R.DEADLINE)


async def test_a_bug_in_a_hosts_own_provider_is_a_failed_target(env):
    class Broken:
        name = "broken"

        async def complete(self, request, progress):
            raise KeyError("sk-abcdefghijklmnopqrstuvwx")

        async def close(self):
            pass

    models = Models({}, providers=[Broken(), Scripted({"s": [say("rescued")]})])
    async with kit(env, models=models) as k:
        out = await k.run(None, model_tier="broken/m,scripted/s", max_runtime=600)
        assert out.result.output == "rescued"
        out = await k.run(None, model_tier="broken/m", max_runtime=3_600)
        assert out.result.reason is R.MODEL_UNAVAILABLE
        assert "KeyError" in out.result.error
        assert "sk-abc" not in out.history.to_json()


async def test_a_secret_in_what_a_provider_says_of_its_failure_is_shown_to_nobody(env, caplog):
    secret = "sk-abcdefghijklmnopqrstuvwx"
    async with kit(env) as k:
        k.scripts["a"] = [fail("not_found", f"no key {secret}")]
        k.scripts["b"] = [fail("request_rejected", f"{secret} \ud800")]
        out = await k.run(None, model_tier="scripted/a,scripted/b")
        assert out.result.reason is R.REQUEST_REJECTED
        assert out.result.error.count("[redacted") == 2
        state = await k.runs.state(out.result.run_id)
        told = [out.result.model_dump_json(), state.model_dump_json()]
        told += [event.SerializeToString().decode(errors="replace") for event in out.history.events]
        told += [row.model_dump_json() for row in await k.audit.rows(out.result.run_id)]
        assert secret not in "".join([*told, caplog.text])
