"""Every body we send has the shape that the SDK's own request types describe."""

from collections.abc import Iterable, Mapping
from typing import Any, get_type_hints

import pytest
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pydantic import TypeAdapter, ValidationError

from executus.message import FilePart, ImagePart, Message, TextPart, ThinkingPart, ToolCallPart
from tests.models.support import ADD, APIS, PING, ask, quiet, request, result, scripted, user
from tests.provider_server import Call, call, say, turn
from tests.provider_server.replies import Say, Think

TYPES: dict[str, Any] = {
    "anthropic": MessageCreateParamsStreaming,
    "openai-responses": ResponseCreateParamsStreaming,
    "openai-chat": CompletionCreateParamsStreaming,
}
# Kept for the module's life: an iterator that outlives its adapter crashes pydantic.
ADAPTERS = {api: TypeAdapter(kind) for api, kind in TYPES.items()}
MEDIA = Message(
    role="user",
    parts=(
        TextPart(text="look"),
        ImagePart(mime="image/png", data=b"PNG"),
        FilePart(name="a.pdf", mime="application/pdf", data=b"PDF"),
        FilePart(name="b.txt", mime="text/plain", data=b"words"),
    ),
)
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def consume(value: Any) -> Any:
    """Pydantic checks an Iterable only as it is read."""
    if isinstance(value, Mapping):
        return {key: consume(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [consume(item) for item in value]
    return value


def check(api: str, body: dict[str, Any]) -> None:
    consume(ADAPTERS[api].validate_python(body))
    assert set(body) <= set(get_type_hints(TYPES[api]))


@pytest.mark.parametrize("api", APIS)
async def test_a_rich_conversation_has_the_shape_of_the_sdks_types(api: str) -> None:
    thinking = turn(Think("hm"), Say("I add."), Call("add", "{}"), Call("x y", "["), finish="end")
    first = await ask(api, thinking, MEDIA)
    foreign = ThinkingPart(provider="another", data="{}")
    bad = ToolCallPart(id="weird:id", name="add", arguments="[")
    messages = [
        MEDIA,
        first.message,
        *(result(c.id, "", "error") for c in first.message.tool_calls),
        user("go on"),
        Message(role="assistant", parts=(foreign, bad)),
        result(bad.id, "lost", "unknown"),
    ]
    options = {"dialect": "openai"} if api == "openai-chat" else {}
    async with scripted(api, *[say("ok")] * 9, **options) as (server, provider):
        given: dict[str, Any] = {"tools": (ADD, PING), "cache_key": "run", "system_prompt": "S"}
        for choice in ("auto", "none"):
            asked = request(*messages, tool_choice=choice, output_schema=SCHEMA, **given)
            await provider.complete(asked, quiet)
    for exchange in server.journal:
        check(api, exchange.body)


@pytest.mark.parametrize("api", APIS)
async def test_the_check_itself_refuses_a_wrong_body(api: str) -> None:
    async with scripted(api, call("a")) as (server, provider):
        await provider.complete(request(tools=(ADD,)), quiet)
    body = server.journal[0].body
    check(api, body)
    key = "input" if api == "openai-responses" else "messages"
    with pytest.raises(ValidationError):
        check(api, {**body, key: [{"role": "narrator", "content": 5}]})
    with pytest.raises(AssertionError):
        check(api, {**body, "tool_coice": "none"})
