"""Which IP addresses are public: what may be connected to on a stranger's word."""

from collections.abc import Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from executus.errors import ConfigError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NEVER = tuple(
    ip_network(text)
    for text in (
        "100.64.0.0/10",  # carrier-grade NAT
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # protocol assignments, Teredo among them
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
"""Not public, or a way to an IPv4 address inside. Python calls some of them global, in each of its
versions other ones (measured: reliability.md, SSRF table)."""
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
UNICAST = ip_network("2000::/3")
"""The only IPv6 that is given out; all else (::127.0.0.1, fec0::, a network's own NAT64) is not."""
NAT64 = ip_network("64:ff9b::/96")
"""The well-known prefix: the last 32 bits are the IPv4 address that is reached."""


def is_public(text: str) -> bool:
    """Whether the address, and what it stands for, is one of the public internet."""
    address = _plain(ip_address(text))
    if any(address in network for network in NEVER):
        return False
    if isinstance(address, IPv6Address) and address not in UNICAST:
        return False
    return address.is_global and not address.is_multicast


def is_within(text: str, networks: Sequence[Network]) -> bool:
    """Whether the address, or the IPv4 address that it stands for, lies in one of `networks`."""
    address = ip_address(text)
    return any(form in network for form in (address, _plain(address)) for network in networks)


def named_networks(host: str) -> tuple[Network, ...]:
    """What `host` is by its own word: this machine, or one address. Of a name, nothing."""
    if host.lower() == "localhost":
        return LOOPBACK
    try:
        return (ip_network(host),)
    except ValueError:
        return ()


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks such as `10.0.0.0/8` or `::1`.

    Raises:
        ConfigError: one is none; names it.
    """
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ip_network(text.strip()))
        except ValueError as error:
            raise ConfigError(f"`{text}` is not a network: {error}") from None
    return tuple(found)


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for; any other as it is."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(address.packed[-4:])
    return address
