"""A reply that is whole has been paid for: what happens to its connection then loses nothing."""

import asyncio
from typing import Any

import pytest

from executus.errors import ModelError
from executus.models import adapter
from tests.models.raw_chat import raw, sse
from tests.models.support import APIS, ask, quiet, request, scripted
from tests.provider_server import Call, Turn, calls, drop, say, stall
from tests.provider_server.wires import Api, events

EACH_API = pytest.mark.parametrize("api", APIS)
GOODBYES: dict[Api, int] = {"anthropic": 1, "openai-responses": 0, "openai-chat": 1}
"""Events after the one with which a reply is whole, its usage included."""
REPLY = calls(Call("add", '{"a": 1}', id="c1"))


def whole(api: Api, reply: Turn = REPLY) -> int:
    return len(list(events(api, reply, "m"))) - GOODBYES[api]


@EACH_API
@pytest.mark.parametrize("broken", [drop, stall])
async def test_a_connection_that_breaks_after_the_end_costs_no_reply(
    api: Api, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "LINGER", 0.1)
    reply = await ask(api, broken(REPLY, after=whole(api)))
    assert [c.arguments for c in reply.message.tool_calls] == ['{"a": 1}']
    assert (reply.stop, reply.usage.input_tokens, reply.usage.output_tokens) == (
        "tool_calls",
        100,
        20,
    )


@EACH_API
async def test_one_event_earlier_it_is_no_reply(api: Api) -> None:
    before = whole(api) - (2 if api == "openai-chat" else 1)  # its usage has an event of its own
    with pytest.raises(ModelError) as caught:
        await ask(api, drop(REPLY, after=before))
    assert caught.value.fault == "connection"


@EACH_API
async def test_a_slow_goodbye_still_gives_the_connection_back(api: Api) -> None:
    async with scripted(api, say("a", pace=0.02), say("b")) as (server, made):
        for _ in range(3):
            await made.complete(request(), quiet)
        assert server.connections == 1


@EACH_API
async def test_a_cancel_while_a_goodbye_is_waited_for_passes_through(api: Api) -> None:
    async with scripted(api, stall(say("so"), after=whole(api, say("so")))) as (_, made):
        said = asyncio.Event()
        task = asyncio.create_task(made.complete(request(), lambda _: said.set()))
        await said.wait()
        await asyncio.sleep(0.2)  # until the goodbye is waited for
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_server_that_says_stop_with_every_event_has_not_ended_with_the_first() -> None:
    every = {"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]}
    async with raw(sse(every), sse(every), cut=True) as made:
        with pytest.raises(ModelError) as caught:
            await made.complete(request(), quiet)
    assert caught.value.fault == "connection"
