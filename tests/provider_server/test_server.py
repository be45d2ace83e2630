"""The scripted provider keeps its own promises."""

import asyncio
import json

import pytest

from executus.errors import ModelError
from tests.models.support import APIS, assistant, provider, quiet, request, result, scripted, user
from tests.provider_server import ProviderServer, attempts, call, say, stall, status

EACH_API = pytest.mark.parametrize("api", APIS)


@EACH_API
async def test_the_reply_follows_from_the_number_of_assistant_turns(api: str) -> None:
    async with scripted(api, call("a"), call("b"), say("done")) as (server, made):
        messages = [user("go")]
        for _ in range(2):
            reply = await made.complete(request(*messages), quiet)
            done = result(reply.message.tool_calls[0].id, "r")
            messages += [reply.message, done]
        reply = await made.complete(request(*messages), quiet)
        again = await made.complete(request(*messages), quiet)
    assert reply.message.text == again.message.text == "done"
    assert [exchange.position for exchange in server.journal] == [0, 1, 2, 2]
    assert server.billed == 4


@EACH_API
async def test_attempts_give_each_retry_of_one_request_its_own_reply(api: str) -> None:
    flaky = attempts(status(529), status(529), say("ok"))
    async with scripted(api, flaky, flaky) as (_, made):
        for messages in ([user("a")], [user("a"), assistant(*say_("x")), user("b")]):
            for _ in range(2):
                with pytest.raises(ModelError):
                    await made.complete(request(*messages), quiet)
            for _ in range(2):
                reply = await made.complete(request(*messages), quiet)
                assert reply.message.text == "ok"


def say_(text: str) -> tuple[object, ...]:
    return user(text).parts


@EACH_API
async def test_an_unknown_model_is_not_found(api: str) -> None:
    async with ProviderServer() as server:
        made = provider(api, server)
        with pytest.raises(ModelError) as caught:
            await made.complete(request(), quiet)
        await made.close()
    assert caught.value.fault == "not_found"


@EACH_API
async def test_the_server_stops_while_a_client_still_waits(api: str) -> None:
    async with ProviderServer() as server:
        server.script("m", [stall()])
        made = provider(api, server)
        task = asyncio.create_task(made.complete(request(), quiet))
        await server.received()
    with pytest.raises(ModelError):
        await task
    await made.close()


async def test_the_journal_keeps_the_exact_bytes() -> None:
    async with scripted("openai-chat", say("ok")) as (server, made):
        await made.complete(request(), quiet)
    (exchange,) = server.journal
    assert json.loads(exchange.raw) == exchange.body
    assert exchange.model == "m"
    assert exchange.headers["content-type"] == "application/json"
