"""A model provider on 127.0.0.1 that speaks three real wire formats and follows a script.

    async with ProviderServer() as server:
        server.script("claude-test", [call("add", a=1, b=2), say("3")])
        provider = AnthropicMessages(api_key="k", base_url=server.anthropic_url)
        ...
        assert server.journal[0].body["model"] == "claude-test"

The reply is chosen by model name and by the number of assistant turns in the request, so one
server serves any number of concurrent runs, and a retried request gets the same answer again
(`attempts(...)` gives each retry of the same request its own).
"""

from tests.provider_server.replies import (
    Call,
    Reply,
    Say,
    Status,
    Think,
    Tokens,
    Turn,
    attempts,
    call,
    calls,
    drop,
    malformed,
    say,
    stall,
    status,
    stream_error,
    truncate,
    turn,
)
from tests.provider_server.server import Exchange, ProviderServer

__all__ = [
    "Call",
    "Exchange",
    "ProviderServer",
    "Reply",
    "Say",
    "Status",
    "Think",
    "Tokens",
    "Turn",
    "attempts",
    "call",
    "calls",
    "drop",
    "malformed",
    "say",
    "stall",
    "status",
    "stream_error",
    "truncate",
    "turn",
]
