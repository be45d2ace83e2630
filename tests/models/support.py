"""What the adapter tests share: the three adapters against one scripted server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from executus.message import Message, Part, ToolResultPart
from executus.models.adapter import Adapter
from executus.models.anthropic_messages import AnthropicMessages
from executus.models.openai_chat import OpenAIChat
from executus.models.openai_responses import OpenAIResponses
from executus.models.provider import ModelReply, ModelRequest, Provider, WireMessage
from executus.plan import ToolDef
from tests.provider_server import ProviderServer, Reply

APIS = ("anthropic", "openai-responses", "openai-chat")
KEY = "sk-test-abcdefghijklmnop"
PROVIDERS: dict[str, Any] = {
    "anthropic": AnthropicMessages,
    "openai-responses": OpenAIResponses,
    "openai-chat": OpenAIChat,
}
ADD = ToolDef(
    name="add",
    description="Adds",
    parameters={"type": "object", "properties": {"a": {"type": "integer"}}},
    digest="d",
)
PING = ToolDef(name="ping", description="", parameters={"type": "object"}, digest="p")


def provider(api: str, server: ProviderServer, **options: Any) -> Provider:
    url = server.anthropic_url if api == "anthropic" else server.openai_url
    made: Adapter = PROVIDERS[api](**{"api_key": KEY, "base_url": url, **options})
    made.load()  # on a busy machine the import alone outlasts a call's 5 s
    return made


def user(text: str) -> Message:
    return Message.user(text)


def assistant(*parts: Part) -> Message:
    return Message(role="assistant", parts=parts)


def result(call_id: str, text: str, outcome: Any = "ok") -> Message:
    part = ToolResultPart(call_id=call_id, name="t", text=text, outcome=outcome)
    return Message(role="tool", parts=(part,))


def wired(*messages: Message) -> list[WireMessage]:
    return [WireMessage(message) for message in messages]


def request(*messages: Message, **options: Any) -> ModelRequest:
    given: dict[str, Any] = {
        "model": "m",
        "system_prompt": "",
        "messages": wired(*(messages or (user("hello"),))),
        "timeout": 5.0,
        **options,
    }
    return ModelRequest(**given)


def quiet(_: str) -> None:
    pass


@asynccontextmanager
async def scripted(api: str, *replies: Reply, **options: Any) -> AsyncIterator[Any]:
    """A server with one model `m`, and the provider that talks to it."""
    async with ProviderServer() as server:
        server.script("m", list(replies))
        made = provider(api, server, **options)
        try:
            yield server, made
        finally:
            await made.close()


async def ask(api: str, reply: Reply, *messages: Message, **options: Any) -> ModelReply:
    """One call that gets `reply`."""
    async with scripted(api, reply) as (_, made):
        got: ModelReply = await made.complete(request(*messages, **options), quiet)
        return got
