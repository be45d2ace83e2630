"""Runs over the real provider SDKs and real HTTP, with every way a provider can fail."""

import pytest

from executus import Reason, Status
from executus.models.anthropic_messages import AnthropicMessages
from executus.models.openai_chat import OpenAIChat
from executus.models.openai_responses import OpenAIResponses
from executus.models.registry import Models
from executus.tools import tool
from tests.provider_server import (
    ProviderServer,
    attempts,
    call,
    calls,
    drop,
    malformed,
    say,
    status,
    stream_error,
    truncate,
    turn,
)
from tests.provider_server.replies import Call, Refuse

from .kit import assert_closed_once, kit

KEY = "sk-canary-0123456789abcdefghij"
FORMATS = ["anthropic", "openai", "openai-chat"]
S, R = Status, Reason
LATE = {"retry-after": "7"}


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture(scope="module")
async def server_and_kit(env):
    async with ProviderServer() as server:
        models = Models(
            {},
            providers=[
                AnthropicMessages(api_key=KEY, base_url=server.anthropic_url),
                OpenAIResponses(api_key=KEY, base_url=server.openai_url),
                OpenAIChat(api_key=KEY, base_url=server.openai_url),
            ],
        )
        async with kit(env, tools=[add], models=models) as k:
            yield server, k
        await models.close()


ok = say("recovered")
CASES = {
    "a tool turn and an answer": ([call("add", a=1, b=2), say("3")], S.OK, R.ANSWER, "3"),
    "400": ([status(400, "bad field")], S.ERROR, R.REQUEST_REJECTED, ""),
    "401": ([status(401, f"bad key {KEY}")], S.ERROR, R.PROVIDER_AUTH, ""),
    "429 that passes": ([attempts(status(429, headers=LATE), ok)], S.OK, R.ANSWER, "recovered"),
    "429 for a day": (
        [status(429, headers={"retry-after": "86400"})],
        S.ERROR,
        R.MODEL_UNAVAILABLE,
        "",
    ),
    "500": ([attempts(status(500), ok)], S.OK, R.ANSWER, "recovered"),
    "529 twice": ([attempts(status(529), status(529), ok)], S.OK, R.ANSWER, "recovered"),
    "529 for ever": ([status(529)], S.ERROR, R.MODEL_UNAVAILABLE, ""),
    "a truncated stream": ([attempts(truncate(), ok)], S.OK, R.ANSWER, "recovered"),
    "a dropped stream": ([attempts(drop(after=2), ok)], S.OK, R.ANSWER, "recovered"),
    "a malformed chunk": ([attempts(malformed(), ok)], S.OK, R.ANSWER, "recovered"),
    "an error inside the stream": (
        [attempts(stream_error("overloaded_error"), ok)],
        S.OK,
        R.ANSWER,
        "recovered",
    ),
    "a length-cut tool call": (
        [calls(Call("add", '{"a": 1, "b'), finish="length"), say("short")],
        S.OK,
        R.ANSWER,
        "short",
    ),
    "a refusal": ([turn(Refuse("I cannot."), finish="refusal")], S.ERROR, R.MODEL_REFUSED, None),
}


@pytest.mark.parametrize("wire", FORMATS)
@pytest.mark.parametrize("name", CASES)
async def test_provider(server_and_kit, wire, name):
    server, k = server_and_kit
    script, expected, reason, output = CASES[name]
    model = f"{wire}-{abs(hash(name))}-{k.queue}"
    server.script(model, script)
    k.plugin.host.models.health.unbench(f"{wire}/{model}")
    out = await k.run(None, model_tier=f"{wire}/{model}", tools=("add",), max_runtime=3_600)
    assert (out.result.status, out.result.reason) == (expected, reason), out.result.error
    if output is not None:
        assert out.result.output == output
    ran = out.activities.count("tool.add")
    assert ran == (1 if name.startswith("a tool turn") else 0)
    await assert_closed_once(k, out)
    assert KEY not in out.history.to_json(), "a key in history"
    assert KEY not in out.result.model_dump_json()


@pytest.mark.parametrize("wire", FORMATS)
async def test_the_chain_moves_on_and_records_who_answered(server_and_kit, wire):
    server, k = server_and_kit
    down, up = f"down-{wire}-{k.queue}", f"up-{wire}-{k.queue}"
    server.script(down, [status(503)])
    server.script(up, [say("from the second")])
    out = await k.run(None, model_tier=f"{wire}/{down},{wire}/{up}", max_runtime=600)
    assert out.result.output == "from the second"
    assert out.result.steps[0].model == f"{wire}/{up}"
    rows = await k.audit.rows(out.result.run_id)
    assert any("failover" in str(row) and down in str(row) for row in rows)


async def test_usage_of_the_run_is_the_sum_of_what_the_provider_reported(server_and_kit):
    server, k = server_and_kit
    model = f"usage-{k.queue}"
    server.script(model, [call("add", a=1, b=2), say("3")])
    out = await k.run(None, model_tier=f"anthropic/{model}", tools=("add",))
    usage = out.result.usage
    assert (usage.input_tokens, usage.output_tokens, usage.model_calls) == (200, 40, 2)


async def test_parallel_runs_of_two_formats_do_not_mix(server_and_kit):
    import asyncio

    server, k = server_and_kit
    tiers = []
    for n in range(12):
        wire = FORMATS[n % 3]
        model = f"mix-{n}-{k.queue}"
        server.script(model, [call("add", a=n, b=0), say(f"answer {n}")])
        tiers.append(f"{wire}/{model}")
    outs = await asyncio.gather(
        *(k.run(None, model_tier=t, tools=("add",), prompt=f"p{n}") for n, t in enumerate(tiers))
    )
    assert [o.result.output for o in outs] == [f"answer {n}" for n in range(12)]
