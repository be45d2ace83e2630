"""What the three adapters have in common: one kept client, one guarded call, one bounded reply."""

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

from pydantic import JsonValue

from executus.errors import ModelError
from executus.message import Message
from executus.models.faults import classify
from executus.models.loose import obj
from executus.models.provider import ModelReply, ModelRequest, Progress
from executus.models.sdk_client import Access, Stream, events_of
from executus.models.wire import Caller, estimated, written
from executus.usage import Usage

if TYPE_CHECKING:
    import httpx2

MAX_REPLY = 4_000_000
"""Characters of text, arguments and reasoning in one reply. A server that sends more ignores
`max_output_tokens`; reading stops, and the fault is final (`request_rejected`), because the same
request would bring, and cost, the same again."""

LINGER = 5.0
"""Seconds of silence, after the event that says how the reply ended, that end the reading too."""

MIN_PIECE = 8
"""Characters from which a piece of a header's value is a secret of its own."""
SEPARATORS = re.compile(r"[\s:;,=\"]+")
"""Between the pieces: `Bearer <token>`, `<user>:<password>`, `session=<token>; ...`."""


class Connection(Protocol):
    """A provider SDK's client, as an adapter uses it."""

    async def stream(
        self,
        path: str,
        content: bytes,
        timeout: float,  # noqa: ASYNC109 - the transport's own, beside the caller's
    ) -> Stream:
        """POST `content`; the events of the answer come as plain JSON values."""
        ...

    def opened(self) -> object:
        """Make the client, unless it is there."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


class Draft(ABC):
    """A reply as its events arrive."""

    def __init__(self, caller: Caller, progress: Progress) -> None:
        self._caller = caller
        self._progress = progress
        self._characters = 0

    @abstractmethod
    def take(self, event: dict[str, object]) -> None:
        """Read the next event."""

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether the server has said how it ended: what may follow is a count, or a goodbye."""

    @abstractmethod
    def reply(self, asked: str, sent: int) -> ModelReply:
        """The reply, once there are no more events.

        `asked` is the model's name in the request, `sent` the request's size in bytes.

        Raises:
            ModelError: it is not complete.
        """

    def count(self, *pieces: str) -> None:
        """Count what the reply brought.

        Raises:
            ModelError: `request_rejected`, when the reply is larger than any reply may be.
        """
        self._characters += sum(map(len, pieces))
        if self._characters > MAX_REPLY:
            name = self._caller.provider
            message = (
                f"{name} sent more than {MAX_REPLY:,} characters in one reply; reading stopped"
            )
            raise ModelError(message, fault="request_rejected")

    def metered(self, usage: Usage, sent: int, message: Message) -> Usage:
        """`usage`, estimated where the server reported none.

        By what streamed, or by the message itself: some servers send it in one piece at the end.
        """
        return estimated(usage, sent, max(self._characters, written(message)))


class Adapter(ABC):
    """A `Provider` for one wire format; one client, and its connections, for its life.

    `http_client` brings own proxies, certificates or limits; it is closed with the provider.
    `native_schema`: whether its models can be held to a JSON schema; None goes by their names.
    """

    default_name: ClassVar[str]
    """The provider's name where the host gives none."""
    path: ClassVar[str]
    """Where requests go, below the base URL."""

    def __init__(
        self,
        *,
        api_key: str,
        name: str | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        http_client: "httpx2.AsyncClient | None" = None,
        native_schema: bool | None = None,
    ) -> None:
        headers = dict(headers or {})
        self._native_schema = native_schema
        self._name = name or self.default_name
        self._caller = Caller(self._name, (api_key, *_secrets(headers)))
        self._access = Access(api_key, base_url, headers, http_client)
        self._connection: Connection | None = None

    @property
    def name(self) -> str:
        """The part of a spec before the first slash."""
        return self._name

    def takes_schema(self, model: str, schema: Mapping[str, JsonValue]) -> bool:
        """See `executus.models.provider.TakesSchema`."""
        known = self._native_schema
        return (self._knows_schemas(model) if known is None else known) and self._holds(schema)

    async def complete(self, request: ModelRequest, progress: Progress) -> ModelReply:
        """Make one call; see `Provider.complete`.

        Raises:
            ModelError: for every failure, classified.
        """
        call = self._complete(request, progress)
        return await guarded(call, timeout=request.timeout, caller=self._caller)

    def load(self) -> None:
        """Import the SDK and make its client, which takes up to a second.

        For a worker's start: in the first call it would stop the event loop and take its time.
        """
        self._opened().opened()

    async def close(self) -> None:
        """Release connections."""
        if self._connection is not None:
            await self._connection.close()

    async def _complete(self, request: ModelRequest, progress: Progress) -> ModelReply:
        content = self._content(request)
        draft = self._draft(progress)
        stream = await self._opened().stream(self.path, content, request.timeout)
        async with events_of(stream) as events:
            async for event in events:
                draft.take(obj(event))
                if draft.ended:
                    await self._finish(draft, events)
        return draft.reply(request.model, len(content))

    async def _finish(self, draft: Draft, events: AsyncIterator[object]) -> None:
        """Read what follows the end of a reply.

        To the end of the stream, so that its connection serves the next call. But the reply is
        complete and paid for: no connection that breaks or stays open then makes it a failure.
        """
        try:
            while draft.ended:
                async with asyncio.timeout(LINGER):
                    event = await anext(events)
                draft.take(obj(event))
        except StopAsyncIteration:
            pass
        except Exception as error:
            lost = classify(error, provider=self._name).fault in ("connection", "timeout")
            if not (lost and draft.ended):
                raise

    def _opened(self) -> Connection:
        if self._connection is None:
            self._connection = self._connect(self._access)
        return self._connection

    @abstractmethod
    def _connect(self, access: Access) -> Connection:
        """Import the SDK's client; whoever starts no run needs none."""

    @abstractmethod
    def _knows_schemas(self, model: str) -> bool: ...

    def _holds(self, schema: Mapping[str, JsonValue]) -> bool:
        """Whether the API can express this schema."""
        del schema
        return True

    @abstractmethod
    def _content(self, request: ModelRequest) -> bytes: ...

    @abstractmethod
    def _draft(self, progress: Progress) -> Draft: ...


def _secrets(headers: Mapping[str, str]) -> list[str]:
    """The values of headers, and of each what a server may quote alone: a token, a password."""
    found = set(headers.values())
    for value in headers.values():
        found.update(p for p in SEPARATORS.split(value) if len(p) >= MIN_PIECE)
    return sorted(found, key=len, reverse=True)  # a piece must not break up the whole


async def guarded(call: Awaitable[ModelReply], *, timeout: float, caller: Caller) -> ModelReply:  # noqa: ASYNC109 - it is the call's own bound, reported as a fault
    """Await `call` for at most `timeout` seconds and turn every failure into a `ModelError`.

    Cancellation passes through. The error is raised with no exception behind it: the SDK's own
    exceptions hold the request, and the request holds the key.
    """
    bound = asyncio.timeout(timeout)
    try:
        async with bound:
            return await call
    except Exception as error:  # noqa: BLE001 - this is the boundary
        if bound.expired() and isinstance(error, TimeoutError):
            message = f"{caller.provider}: no whole reply within {timeout:g} s"
            failure = ModelError(message, fault="timeout")
        else:
            failure = classify(error, provider=caller.provider, secrets=caller.secrets)
    raise failure
