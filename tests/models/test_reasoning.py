"""Reasoning goes back to who made it, and to nobody else who speaks the same format."""

import json
from typing import Any

import pytest

from executus.message import Message, ThinkingPart
from tests.models.support import APIS, provider, quiet, request, result, scripted, user, wired
from tests.provider_server import Call, ProviderServer, Say, Think, call, say, turn

EACH_API = pytest.mark.parametrize("api", APIS)
THOUGHT = turn(Think("hm", "SIGNED"), Call("add", "{}", id="c1"), finish="tool_calls")


def carries(body: dict[str, Any]) -> bool:
    text = json.dumps(body)
    return "SIGNED" in text or '"hm"' in text


@EACH_API
async def test_another_provider_of_the_format_gets_none_of_it(api: str) -> None:
    async with ProviderServer() as server:
        server.script("m", [THOUGHT, say("ok")])
        one, other = provider(api, server, name="one"), provider(api, server, name="other")
        first = await one.complete(request(), quiet)
        messages = wired(user("hello"), first.message, result("c1", "1"))
        for made in (one, other, one):  # the same conversation: what is kept of it is not mixed up
            await made.complete(request(messages=messages), quiet)
            await made.close()
    assert [carries(e.body) for e in server.journal[1:]] == [True, False, True]
    assert all("c1" in json.dumps(e.body) for e in server.journal[1:])


async def test_an_anthropic_signature_goes_back_to_its_own_model_only() -> None:
    async with scripted("anthropic", THOUGHT, say("ok")) as (server, made):
        server.script("n", [call("add"), say("ok")])
        first = await made.complete(request(), quiet)
        conversation = (user("hello"), first.message, result("c1", "1"))
        for model in ("m", "n"):
            await made.complete(request(*conversation, model=model), quiet)
    own, other = (e.body for e in server.journal[1:])
    assert (carries(own), carries(other)) == (True, False)
    assert [block["type"] for block in other["messages"][1]["content"]] == ["tool_use"]


@EACH_API
async def test_what_only_thought_is_no_turn_for_others(api: str) -> None:
    async with ProviderServer() as server:
        server.script("m", [turn(Think("hm", "SIGNED"), Say("so")), say("ok")])
        one, other = provider(api, server, name="one"), provider(api, server, name="other")
        first = await one.complete(request(), quiet)
        thought = Message(role="assistant", parts=first.message.parts[:1])
        await other.complete(request(user("a"), thought, user("b")), quiet)
        for made in (one, other):
            await made.close()
    body = server.journal[1].body
    assert '"assistant"' not in json.dumps(body)
    assert not carries(body)


@EACH_API
async def test_reasoning_of_an_unknown_origin_goes_to_all_of_the_format(api: str) -> None:
    """As conversations have it that began before its origin was kept."""
    async with scripted(api, THOUGHT, say("ok")) as (server, made):
        first = await made.complete(request(), quiet)
        old = Message(
            role="assistant",
            parts=tuple(
                p.model_copy(update={"origin": ""}) if isinstance(p, ThinkingPart) else p
                for p in first.message.parts
            ),
        )
        assert "origin" not in old.model_dump_json()
        await made.complete(request(user("hello"), old, result("c1", "1")), quiet)
    assert carries(server.journal[1].body)
