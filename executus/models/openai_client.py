"""The long-lived OpenAI client behind both OpenAI formats: the only importer of `openai`."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from openai import AsyncOpenAI, AsyncStream, Timeout

from executus.models.wire import CONNECT_TIMEOUT

if TYPE_CHECKING:
    import httpx2

DEFAULT_URL = "https://api.openai.com/v1"


class OpenAIClient:
    """Opened at the first call; retries nothing, because Temporal does."""

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None,
        headers: Mapping[str, str] | None,
        http_client: "httpx2.AsyncClient | None",
    ) -> None:
        self._key = api_key
        # Always explicit: the SDK would take OPENAI_BASE_URL and send the key there.
        self._base_url = base_url or DEFAULT_URL
        self._headers = dict(headers or {})
        self._http_client = http_client
        self._client: AsyncOpenAI | None = None

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        content: bytes,
        timeout: float,  # noqa: ASYNC109 - the transport's own, beside the caller's
    ) -> AsyncGenerator[AsyncIterator[object]]:
        """POST `content` and iterate over the events of the answer as plain JSON values."""
        stream = await self._open().post(
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
        async with stream:
            yield stream.__aiter__()

    async def close(self) -> None:
        """Release connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _open(self) -> AsyncOpenAI:
        if self._client is None:
            self._client = AsyncOpenAI(
                api_key=self._key,
                base_url=self._base_url,
                max_retries=0,
                default_headers=self._headers,
                http_client=self._http_client,
            )
        return self._client
