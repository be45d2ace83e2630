"""What servers that speak the chat format do otherwise than OpenAI, and what it must not cost."""

from typing import Any

import pytest

from tests.models.raw_chat import answered, chunk
from tests.models.support import ask, provider, quiet, request, result, scripted, user
from tests.provider_server import ProviderServer, Tokens, call, say


def piece(name: str | None, arguments: str, **fields: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"index": 0, "function": function, **fields}


NOTHING_TELLS_THEM_APART: dict[str, list[dict[str, Any]]] = {
    "whole": [piece("add", '{"a": 1}', id=""), piece("add", '{"a": 2}', id="")],
    "in pieces": [
        piece("add", ""),
        piece(None, '{"a"'),
        piece(None, ": 1}"),
        piece("add", '{"a'),
        piece(None, '": 2}'),
    ],
    "the name again with each piece": [
        piece("add", '{"a"'),
        piece("add", ": 1}"),
        piece("add", ""),
        piece("add", '{"a": '),
        piece("add", "2}"),
    ],
}


@pytest.mark.parametrize("pieces", NOTHING_TELLS_THEM_APART.values(), ids=NOTHING_TELLS_THEM_APART)
async def test_calls_without_ids_under_one_index_are_told_apart_by_name(pieces: list[Any]) -> None:
    reply = await answered(*(chunk(tool_calls=[p]) for p in pieces), chunk("tool_calls"))
    assert [(c.id, c.name, c.arguments) for c in reply.message.tool_calls] == [
        ("call_0", "add", '{"a": 1}'),
        ("call_1", "add", '{"a": 2}'),
    ]


async def test_calls_of_two_tools_without_arguments_are_two() -> None:
    both = [piece("ping", ""), piece("add", "{}")]
    reply = await answered(chunk(tool_calls=both), chunk("tool_calls"))
    assert [c.name for c in reply.message.tool_calls] == ["ping", "add"]


SIGNED = {"google": {"thought_signature": "SIG"}}


async def test_the_signature_of_a_call_goes_back_with_it_and_to_nobody_else() -> None:
    """Google's servers refuse the conversation without it."""
    first = await answered(
        chunk(
            tool_calls=[
                {"index": 0, "id": "a", "function": {"name": "add", "arguments": "{}"}},
                {
                    "index": 1,
                    "id": "b",
                    "function": {"name": "ping", "arguments": "{}"},
                    "extra_content": SIGNED,
                },
            ]
        ),
        chunk("tool_calls"),
    )
    conversation = (user("go"), first.message, result("a", "1"), result("b", "2"))
    async with ProviderServer() as server:
        server.script("m", lambda _: say("ok"))
        for name in ("openai-chat", "other"):
            made = provider("openai-chat", server, name=name)
            await made.complete(request(*conversation), quiet)
            await made.close()
    own, other = (e.body["messages"][1]["tool_calls"] for e in server.journal)
    assert [c.get("extra_content") for c in own] == [None, SIGNED]
    assert [c.get("extra_content") for c in other] == [None, None]


@pytest.mark.parametrize(
    ("usage", "output"),
    [
        ({"prompt_tokens": 20, "completion_tokens": 151, "total_tokens": 553}, 533),  # Google
        (
            {
                "prompt_tokens": 10_120,
                "completion_tokens": 1_499,
                "total_tokens": 14_428,
                "completion_tokens_details": {"reasoning_tokens": 2_809},
            },
            4_308,  # xAI
        ),
        ({"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}, 5),
        ({"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 3}, 5),
        ({"prompt_tokens": 20, "completion_tokens": 5}, 5),
    ],
)
async def test_thoughts_that_only_the_total_has_are_counted(usage: Any, output: int) -> None:
    reply = await answered(chunk("stop", content="x"), {"choices": [], "usage": usage})
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (20, output) or (
        usage["prompt_tokens"] != 20 and reply.usage.output_tokens == output
    )


async def test_zeros_at_the_end_of_an_anthropic_stream_undo_no_count() -> None:
    zeros = {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 9}
    started = {"input_tokens": 40, "cache_read_input_tokens": 60, "output_tokens": 1}
    async with scripted("anthropic", call("add")) as (_, made):
        draft = made._draft(quiet)
        draft.take({"type": "message_start", "message": {"model": "m", "usage": started}})
        draft.take({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": zeros})
        usage = draft.reply("m", 400).usage
    assert (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens) == (100, 60, 9)


@pytest.mark.parametrize("api", ["anthropic", "openai-responses", "openai-chat"])
async def test_a_count_that_no_store_takes_is_none(api: str) -> None:
    reply = await ask(api, say("x" * 40, tokens=Tokens(input=2**70, output=2**70)))
    assert reply.usage.output_tokens == 10
    assert reply.usage.input_tokens < 1_000
