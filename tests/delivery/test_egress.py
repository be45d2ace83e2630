"""Where a webhook may go: the table of reliability.md B-9, by URL and by name."""

import pytest

from executus.addresses import is_public, is_within, parse_networks
from executus.delivery import Egress
from executus.delivery.egress import system_resolver
from executus.errors import ConfigError, DeliveryError

PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
INSIDE = """
    0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 169.254.169.254 172.16.0.1 192.0.0.8 192.0.0.9 192.168.1.1
    192.88.99.1 198.18.0.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe
    64:ff9b:1::808:808 100::1 2001:db8::1 2001:0:808:808::f7f7:f7f7 2002:7f00:1:: 2002:808:808::
    3fff::1 5f00::1 fc00::1 fe80::1 fe80::1%1 fec0::1 ff02::1
"""


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize("address", INSIDE.split())
def test_an_address_inside_is_not_public_in_any_disguise(address):
    assert not is_public(address)


def test_a_network_allows_an_address_in_both_of_its_forms():
    networks = parse_networks(["127.0.0.0/8", " fd00::/8 "])
    assert all(is_within(a, networks) for a in ("127.0.0.1", "::ffff:127.0.0.1", "fd00::1"))
    assert not any(is_within(a, networks) for a in ("10.0.0.1", "::1"))


def test_a_network_that_is_none_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"10\.0\.0\.0/99"):
        Egress(networks=["10.0.0.0/99"])


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://example.com/x", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("https:///x", "only http and https"),
        ("https://[::1/", "cannot be read"),
        ("https://example.com:99999/", "is not a port"),
        ("http://example.com/", "use https"),
        ("https://user:pass@example.com/", "configure an endpoint"),
        ("https://example.com:6379/", "port 6379 is not allowed; allowed: 80, 443"),
        ("https://127.0.0.1/", "not a public address"),
        ("https://0.0.0.0/", "not a public address"),
        ("https://0/", "not a public address"),
        ("https://2130706433/", "leads to 127.0.0.1"),
        ("https://0x7f000001/", "leads to 127.0.0.1"),
        ("https://0177.0.0.1/", "cannot be read"),
        ("https://127.1/", "leads to 127.0.0.1"),
        ("https://[::1]/", "not a public address"),
        ("https://[::ffff:127.0.0.1]/", "not a public address"),
        ("https://[::ffff:7f00:1]/", "not a public address"),
        ("https://[64:ff9b::a9fe:a9fe]/", "not a public address"),
        ("https://169.254.169.254/latest/meta-data/", "not a public address"),
    ],
)
def test_an_url_that_a_caller_may_not_name_is_refused_and_says_why(url, says):
    problem = Egress().problem(url)
    assert problem is not None
    assert says in problem
    assert "pass" not in problem.replace("password", "")


def test_full_width_digits_are_no_way_in():
    assert Egress().problem("https://\uff11\uff12\uff17.0.0.1/") is not None


@pytest.mark.parametrize("url", ["https://example.com/x?y=1", "https://8.8.8.8", "https://a.b:80/"])
def test_an_url_to_the_outside_is_allowed(url):
    assert Egress().problem(url) is None


def test_hosts_are_allowed_by_name_or_below_one():
    egress = Egress(hosts=["hooks.example.com", "*.example.org"])
    assert egress.problem("https://HOOKS.example.com/") is None
    assert egress.problem("https://a.b.example.org/") is None
    for host in ("example.org", "hooks.example.com.evil.net", "evil-example.org", "example.com"):
        problem = egress.problem(f"https://{host}/")
        assert problem is not None
        assert "allowed: hooks.example.com, *.example.org" in problem
    assert "allowed: none" in str(Egress(hosts=()).problem("https://example.com/"))


async def test_a_name_that_leads_inside_is_refused_when_it_is_resolved():
    with pytest.raises(DeliveryError, match="localhost leads to") as raised:
        await Egress().resolve("localhost", 443)
    assert raised.value.permanent
    assert await Egress(networks=["127.0.0.0/8", "::1"]).resolve("localhost", 443)


async def test_one_address_inside_among_public_ones_is_refused():
    async def resolver(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "10.0.0.1"]

    with pytest.raises(DeliveryError, match=r"10\.0\.0\.1"):
        await Egress(resolver=resolver).resolve("mixed.example.com", 443)


async def test_a_name_that_does_not_resolve_may_do_so_later():
    with pytest.raises(DeliveryError, match="does not resolve") as raised:
        await Egress().resolve("nobody.invalid", 443)
    assert not raised.value.permanent

    async def silent(host: str, port: int) -> list[str]:
        return []

    with pytest.raises(DeliveryError, match="does not resolve"):
        await Egress(resolver=silent).resolve("nobody.invalid", 443)


async def test_the_systems_resolver_reads_numbers_as_the_system_does():
    assert await system_resolver("2130706433", 80) == ["127.0.0.1"]
