"""An MCP server at an address: the package's streamable HTTP, over a client that bounds it.

The package turns most failures of HTTP into one text, and some into the end of every call on the
connection. Here each request gets an answer of its own that says what happened to it.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore2
import httpx2
from mcp.client.streamable_http import streamable_http_client
from mcp_types import JSONRPCError
from pydantic import ValidationError

from executus.addresses import named_networks
from executus.delivery.egress import Egress, GuardedBackend
from executus.errors import DeliveryError
from executus.mcp.server import McpServer
from executus.mcp.wire import (
    GONE,
    LOST,
    MAX_MESSAGE,
    NOT_SENT,
    REFUSED,
    TOO_LONG_TEXT,
    error_answer,
)

NOT_CONNECTED = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)
CLIENT_ERROR, NOT_FOUND, SERVER_ERROR = 400, 404, 500
SESSION = "mcp-session-id"
PLAIN = "identity"


def http(url: str, client: httpx2.AsyncClient) -> AbstractAsyncContextManager[Any]:
    """Transport to `url`; the client is the caller's to close."""
    return streamable_http_client(url, http_client=client, max_sse_event_size=MAX_MESSAGE)


class Guarded(httpx2.AsyncHTTPTransport):
    """Connects to addresses that `egress` allows: whoever owns a name says where it leads."""

    def __init__(self, egress: Egress) -> None:
        super().__init__()
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(), network_backend=GuardedBackend(egress)
        )


class BoundedClient(httpx2.AsyncClient):
    """A client of one server, whose failures are answers, and whose answers have an end."""

    def __init__(self, server: McpServer, headers: Mapping[str, str], *, silence: float) -> None:
        """`headers`: with secrets filled in. `silence`: seconds between two of its bytes."""
        seconds = server.connect_seconds
        super().__init__(
            # Not compressed: a few bytes must not become gigabytes.
            headers={**headers, "accept-encoding": PLAIN},
            timeout=httpx2.Timeout(silence, connect=seconds, pool=seconds),
            transport=_transport(server),
        )

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:  # noqa: ANN401 - the base class's
        """See base class; never raises for what happens on the way."""
        try:
            response = await super().send(request, **options)
        except NOT_CONNECTED as error:
            return _answer(request, NOT_SENT, f"cannot be reached ({type(error).__name__})")
        except DeliveryError as error:
            return _answer(request, NOT_SENT, f"cannot be reached: {error}")
        except httpx2.TransportError as error:
            return _answer(request, LOST, f"broke off ({type(error).__name__})")
        if response.headers.get("content-encoding", PLAIN).lower() != PLAIN:
            await response.aclose()
            return _answer(request, LOST, "answered compressed, which was not asked for")
        response.stream = _Bounded(response)
        if response.status_code >= CLIENT_ERROR:
            return await _explained(request, response)
        return response


class _Bounded(httpx2.AsyncByteStream):
    """A body: with an end, unless it is an event stream, and no exception but `StreamError`."""

    def __init__(self, response: httpx2.Response) -> None:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._left = None if kind == "text/event-stream" else MAX_MESSAGE
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - for type checkers
        self._stream = response.stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                if self._left is not None:
                    self._left -= len(chunk)
                    if self._left < 0:
                        raise httpx2.StreamError(TOO_LONG_TEXT)
                yield chunk
        except httpx2.TransportError as error:
            # The package ends this call for a StreamError, and the whole connection for another.
            raise httpx2.StreamError(f"broke off ({type(error).__name__})") from None

    async def aclose(self) -> None:
        """See base class."""
        await self._stream.aclose()


async def _explained(request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
    """An HTTP error as an answer that says which; a JSON-RPC error stays what it is."""
    status = response.status_code
    if status == NOT_FOUND and SESSION in request.headers:  # what 2025's servers say, body or not
        await response.aclose()
        return _answer(request, GONE, "does not know the session any more")
    try:
        JSONRPCError.model_validate_json(await response.aread())
    except (httpx2.StreamError, ValidationError):
        code = REFUSED if status < SERVER_ERROR else LOST
        return _answer(request, code, f"HTTP {status} {response.reason_phrase}".rstrip(), status)
    return response


def _transport(server: McpServer) -> httpx2.AsyncBaseTransport | None:
    """None = the client's own: where a proxy connects, it is the proxy that decides."""
    parts = urlsplit(server.url or "")
    host, proxies = parts.hostname or "", getproxies()
    if {parts.scheme, "all"} & proxies.keys() and not proxy_bypass(host):
        return None
    own = map(str, named_networks(host))
    return Guarded(Egress(networks=(*server.networks, *own), allow="with `networks`"))


def _answer(
    request: httpx2.Request, code: int, message: str, status: int = SERVER_ERROR
) -> httpx2.Response:
    return httpx2.Response(status, json=error_answer(code, message), request=request)
