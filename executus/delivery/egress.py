"""Egress: where a webhook may go, held at the moment of the connection.

A caller names the URL, so it must not lead inside (server-side request forgery). Names are resolved
once, every address is checked, and the connection goes to the address that was checked: what a
name resolves to a moment later does not matter. TLS still asks for the name.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import httpcore2
import httpx2

from executus.addresses import is_public, is_within, parse_networks
from executus.errors import DeliveryError
from executus.sanitize import clean_line

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host name and port to IP addresses."""

DEFAULT_PORTS = {"http": 80, "https": 443}
ALLOW = "by EXECUTUS_DELIVERY_NETWORKS or Egress(networks=...)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """What URLs and addresses are allowed."""

    hosts: Sequence[str] | None = None
    """Host names that a caller's URL may have, `*.example.com` for what is below; None = any."""
    ports: frozenset[int] = frozenset({80, 443})
    """Ports that a caller's URL may have."""
    http: bool = False
    """Whether a caller's URL may be plain http."""
    networks: Sequence[str] = ()
    """Networks that are not public and allowed all the same, such as `10.0.0.0/8`."""
    allow: str = ALLOW
    """How the host allows a network, for who is refused."""
    resolver: Resolver = field(default_factory=lambda: system_resolver)
    """How names are resolved."""

    def __post_init__(self) -> None:
        """Refuse a network that is none (ConfigError)."""
        parse_networks(self.networks)

    def problem(self, text: str) -> str | None:
        """Why a caller may not name this URL, if so. Asks no name server."""
        try:
            url = parse_url(text)
        except DeliveryError as error:
            return str(error)
        port = url.port or DEFAULT_PORTS[url.scheme]
        if url.scheme == "http" and not self.http:
            return "an http URL is not allowed here: use https"
        if url.userinfo:
            return "an URL must not hold a password: configure an endpoint and name it"
        if port not in self.ports:
            known = ", ".join(map(str, sorted(self.ports)))
            return f"port {port} is not allowed; allowed: {known}"
        if self.hosts is not None and not any(fnmatchcase(url.host, host) for host in self.hosts):
            known = ", ".join(self.hosts) or "none"
            return f"host {clean_line(url.host, 100)} is not allowed; allowed: {known}"
        return self._literal_problem(url.host, port)

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of `host`, every one of them checked.

        Raises:
            DeliveryError: it does not resolve, or an address is not allowed.
        """
        try:
            found = list(dict.fromkeys(await self.resolver(host, port)))
        except (OSError, UnicodeError) as error:
            text = f"{clean_line(host, 100)} does not resolve: {clean_line(str(error), 100)}"
            raise DeliveryError(text) from None
        if not found:
            raise DeliveryError(f"{clean_line(host, 100)} does not resolve")
        for address in found:
            self._check(host, address)
        return found

    def _check(self, host: str, address: str) -> None:
        networks = parse_networks(self.networks)
        if not is_public(address) and not is_within(address, networks):
            text = f"{clean_line(host, 100)} leads to {address}, which is not a public address"
            text += f"; the host can allow its network {self.allow}"
            raise DeliveryError(text, permanent=True)

    def _literal_problem(self, host: str, port: int) -> str | None:
        """An address written as a number, in any form that the system understands."""
        try:
            found = socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return None  # a name: checked when it is resolved
        try:
            for info in found:
                self._check(host, str(info[4][0]))
        except DeliveryError as error:
            return str(error)
        return None


async def system_resolver(host: str, port: int) -> list[str]:
    """As the system resolves."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in found]


def parse_url(text: str) -> httpx2.URL:
    """The one reading of an URL: what is checked is what is connected to.

    Raises:
        DeliveryError: it is no http or https URL with a host.
    """
    try:
        url = httpx2.URL(text)
        host, port = url.host, url.port or DEFAULT_PORTS.get(url.scheme, 0)
    except (httpx2.InvalidURL, ValueError, UnicodeError):
        raise DeliveryError("the URL cannot be read", permanent=True) from None
    if url.scheme not in DEFAULT_PORTS or not host:
        raise DeliveryError("only http and https URLs with a host are possible", permanent=True)
    if not 0 < port < 65_536:  # noqa: PLR2004 - what a port is
        raise DeliveryError(f"{port} is not a port", permanent=True)
    return url


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to checked addresses only."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        # pyright takes the class that stands in for it when anyio is missing.
        self._inner: httpcore2.AsyncNetworkBackend = httpcore2.AnyIOBackend()  # pyright: ignore[reportAttributeAccessIssue]

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the base class's own
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve, check, and connect to the first address that answers."""
        failure: Exception | None = None
        for address in await self._egress.resolve(host, port):
            try:
                return await self._inner.connect_tcp(
                    _number(address), port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore2.ConnectError("no address")

    async def sleep(self, seconds: float) -> None:
        """See base class."""
        await self._inner.sleep(seconds)


def _number(address: str) -> str:
    """The address in its one plain form: nothing is left to be resolved."""
    return str(ipaddress.ip_address(address))
