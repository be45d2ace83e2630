"""A provider SDK's client: opened once, then kept with its connections."""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from executus.models.loose import is_list, items

if TYPE_CHECKING:
    import httpx2

CONNECT_TIMEOUT = 10.0
"""Seconds to open a connection."""

EVENT_STREAM = "text/event-stream"
"""The content type of what the three APIs answer."""
EVENT = re.compile(rb"(?:^|[\r\n])data:")
"""The line that each event has."""
MAX_KEPT = 65_536
"""Bytes that are read of an answer in which there is no event."""


class NoEventsError(ValueError):
    """The answer to a request for a stream is something else."""

    def __init__(self, kind: str, content: bytes) -> None:
        shown = content.decode("utf-8", "replace").strip()
        super().__init__(f"{kind or 'no content type'} instead of {EVENT_STREAM}: {shown}")
        self.body = _error_object(content)
        """The provider's error object, if that is what came."""


def _error_object(content: bytes) -> dict[str, object] | None:
    try:
        value: object = json.loads(content)
    except (ValueError, RecursionError):
        return None
    found = items(value if is_list(value) else [value])[:1]  # Google's is in a list
    return found[0] if found and found[0].get("error") else None


@dataclass(frozen=True, slots=True)
class Access:
    """Where a client connects to, and as whom."""

    api_key: str = field(repr=False)
    """Never in a message, a log or a repr."""
    base_url: str | None
    """None: the provider's own."""
    headers: Mapping[str, str] = field(repr=False)
    """Sent with every request; may hold secrets."""
    http_client: "httpx2.AsyncClient | None" = None
    """The host's own transport."""


class Closable(Protocol):
    """What the SDKs' clients share."""

    async def close(self) -> None:
        """Release connections."""
        ...


class Stream(AbstractAsyncContextManager[object], Protocol):
    """What the SDKs' streams share."""

    response: "httpx2.Response"

    def __aiter__(self) -> AsyncIterator[object]:
        """The events."""
        ...


C = TypeVar("C", bound=Closable)
C_co = TypeVar("C_co", bound=Closable, covariant=True)


class Sdk(Protocol[C_co]):
    """How an SDK's client is made."""

    def __call__(
        self,
        *,
        api_key: str,
        base_url: str,
        max_retries: int,
        default_headers: Mapping[str, str],
        http_client: "httpx2.AsyncClient | None",
    ) -> C_co:
        """A client."""
        ...


class SdkClient(Generic[C]):
    """Retries nothing, because Temporal does."""

    def __init__(self, sdk: Sdk[C], access: Access, default_url: str) -> None:
        self._sdk = sdk
        self._access = access
        # Always explicit: an SDK would take its variable's URL and send the key there.
        self._base_url = access.base_url or default_url
        self._client: C | None = None

    def opened(self) -> C:
        """The client."""
        if self._client is None:
            self._client = self._sdk(
                api_key=self._access.api_key,
                base_url=self._base_url,
                max_retries=0,
                default_headers=self._access.headers,
                http_client=self._access.http_client,
            )
        return self._client

    async def close(self) -> None:
        """Release connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


@asynccontextmanager
async def events_of(stream: Stream) -> AsyncGenerator[AsyncIterator[object]]:
    """Events of a stream; afterwards it is closed, and before it what reads from the connection.

    A fault leaves a chain of generators to Python's collector, which closes each by a task of its
    own while those above close the ones below: "asynchronous generator is already running". The
    lower half of it closes in order when its upper end is closed, and that is had by giving the SDK
    this one iterator over the body.
    """
    response = stream.response
    body = response.aiter_bytes()
    kind = response.headers.get("content-type", "")
    if not kind.lower().startswith(EVENT_STREAM):
        body = _if_events(body, kind)
    vars(response)["aiter_bytes"] = lambda: body
    async with stream, aclosing(body):
        yield aiter(stream)


async def _if_events(body: AsyncGenerator[bytes], kind: str) -> AsyncGenerator[bytes]:
    """`body` as it comes, although it does not say that it is a stream of events.

    Some servers stream under another type. An error object or a login page has no event.

    Raises:
        NoEventsError: there is none, at the end or after `MAX_KEPT` bytes.
    """
    kept: bytes | None = b""  # until an event is seen
    async with aclosing(body):
        async for chunk in body:
            if kept is not None:
                kept += chunk
                if EVENT.search(kept):
                    kept = None
                elif len(kept) > MAX_KEPT:
                    break
            yield chunk
    if kept is not None:
        raise NoEventsError(kind, kept[:MAX_KEPT])
