"""The long-lived Anthropic client, and the SDK's schemas: the only importer of `anthropic`."""

from collections.abc import Mapping
from typing import cast

from anthropic import AsyncAnthropic, AsyncStream, Timeout, transform_schema
from pydantic import JsonValue

from executus.models.schema_fit import holdable
from executus.models.sdk_client import CONNECT_TIMEOUT, Access, SdkClient, Stream
from executus.models.wire import Json

DEFAULT_URL = "https://api.anthropic.com"


class AnthropicClient(SdkClient[AsyncAnthropic]):
    """See `executus.models.adapter.Connection`."""

    def __init__(self, access: Access) -> None:
        super().__init__(AsyncAnthropic, access, DEFAULT_URL)

    async def stream(
        self,
        path: str,
        content: bytes,
        timeout: float,  # noqa: ASYNC109 - the transport's own, beside the caller's
    ) -> Stream:
        """POST `content`."""
        return await self.opened().post(
            path,
            cast_to=object,
            content=content,
            options={"timeout": Timeout(timeout, connect=CONNECT_TIMEOUT)},
            stream=True,
            stream_cls=AsyncStream[object],
        )


def subset(schema: Mapping[str, JsonValue]) -> Json | None:
    """`schema` in the subset that the API takes, or None when it does not fit."""
    if not holdable(schema):
        return None
    try:
        return cast("Json", transform_schema(dict(schema)))
    except (ValueError, TypeError, AssertionError, AttributeError):
        return None
