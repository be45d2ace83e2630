"""The long-lived OpenAI client behind both OpenAI formats: the only importer of `openai`."""

from executus.models.on_demand import on_demand
from executus.models.sdk_client import CONNECT_TIMEOUT, Access, SdkClient, Stream

with on_demand("openai.types"):
    from openai import AsyncOpenAI, AsyncStream, Timeout

DEFAULT_URL = "https://api.openai.com/v1"


class OpenAIClient(SdkClient[AsyncOpenAI]):
    """See `executus.models.adapter.Connection`."""

    def __init__(self, access: Access) -> None:
        super().__init__(AsyncOpenAI, access, DEFAULT_URL)

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
            options={
                "timeout": Timeout(timeout, connect=CONNECT_TIMEOUT),
                "security": {"bearer_auth": True},
            },
            stream=True,
            stream_cls=AsyncStream[object],
        )
