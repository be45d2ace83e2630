"""Webhooks over real HTTP and TLS."""

import asyncio
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from standardwebhooks import Webhook as Standard

from executus.delivery import Egress, Endpoint, Webhook
from executus.delivery_target import DeliveryTarget
from executus.errors import ConfigError, DeliveryError

from .kit import HERE, SECRET, item, webhook
from .receiver import OK, Receiver, answer


async def refused(hook: Webhook, address: str = "here") -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        await hook.deliver(item(address=address))
    return raised.value


async def test_an_event_arrives_signed_and_once():
    async with Receiver() as there:
        sent = item(address="here")
        receipt = await webhook(there.url(path="/a/b?c=d")).deliver(sent)
        [got] = there.seen
    assert got.line == "POST /a/b?c=d HTTP/1.1"
    assert got.body == sent.body
    assert got.headers["host"] == f"127.0.0.1:{there.port}"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-id"] == sent.id == receipt.id
    assert Standard(SECRET).verify(got.body, got.headers)["data"]["output"] == "done"
    assert (receipt.target, receipt.status_code, receipt.attempts) == ("webhook here", 204, 1)


async def test_a_second_attempt_has_the_same_id_and_body():
    async with Receiver([answer(503), OK]) as there:
        hook = webhook(there.url())
        assert (await refused(hook)).status_code == 503
        await hook.deliver(item(address="here"))
        one, two = there.seen
    assert one.headers["webhook-id"] == two.headers["webhook-id"]
    assert one.body == two.body
    Standard(SECRET).verify(two.body, two.headers)


@pytest.mark.parametrize("permanent", [True, False])
async def test_a_status_says_whether_trying_again_may_help(permanent):
    final, passing = (301, 302, 304, 400, 401, 404, 410, 422), (408, 425, 429, 500, 502, 503, 599)
    statuses = final if permanent else passing
    async with Receiver([answer(status) for status in statuses]) as there:
        hook = webhook(there.url())
        for status in statuses:
            error = await refused(hook)
            assert (error.status_code, error.permanent) == (status, permanent)
            assert str(status) in str(error)


async def test_the_receivers_wish_to_wait_is_passed_on():
    answers = [answer(429, "Retry-After: 7"), answer(503, "retry-after: junk"), answer(404)]
    async with Receiver(answers) as there:
        hook = webhook(there.url())
        assert [(await refused(hook)).retry_after for _ in answers] == [7.0, None, None]


async def test_a_redirect_is_not_followed():
    async with Receiver() as inside, Receiver([answer(302, f"location: {inside.url()}")]) as there:
        error = await refused(webhook(there.url()))
        assert error.permanent
        assert "redirects are not followed" in str(error)
        assert inside.seen == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0", "127.1"])
async def test_this_machine_is_refused_even_to_a_configured_endpoint(host):
    async with Receiver() as there:
        error = await refused(webhook(there.url(host), egress=Egress()))
        assert error.permanent
        assert "not a public address" in str(error)
        assert "EXECUTUS_DELIVERY_NETWORKS" in str(error), "the way out"
        assert there.seen == []


async def test_an_address_of_ipv6_that_means_ipv4_is_refused():
    async with Receiver() as there:
        error = await refused(webhook(there.url("[::ffff:127.0.0.1]"), egress=Egress()))
        assert "not a public address" in str(error)
        assert there.seen == []


async def test_a_name_that_changes_its_mind_is_asked_once_and_held_to_its_word():
    """DNS rebinding: public when it is checked, this machine when it is connected to."""
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["203.0.113.9"] if len(asked) == 1 else ["127.0.0.1"]

    egress = Egress(networks=["203.0.113.0/24"], resolver=rebinding)
    async with Receiver() as there:
        hook = webhook(there.url("rebind.example.com"), egress=egress, seconds=0.5)
        error = await refused(hook)
        assert (asked, error.permanent, there.seen) == (["rebind.example.com"], False, [])


async def test_the_next_address_is_tried_when_one_does_not_answer():
    async def resolver(host: str, port: int) -> list[str]:
        return ["::1", "127.0.0.1"]

    async with Receiver() as there:  # on IPv4 only
        egress = Egress(networks=HERE, resolver=resolver)
        await webhook(there.url("two.example.com"), egress=egress).deliver(item(address="here"))
        assert there.seen[0].headers["host"] == f"two.example.com:{there.port}"


async def test_an_endless_answer_is_not_read():
    async with Receiver([b"HTTP/1.1 200 OK\r\n\r\n"]) as there:
        there.forever = b"x" * 65_536
        begun = time.monotonic()
        await webhook(there.url()).deliver(item(address="here"))
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_an_endless_head_is_cut(head):
    async with Receiver([head]) as there:
        there.forever = b"x: y\r\n" * 1_000 if b"200" in head else head
        error = await refused(webhook(there.url(), seconds=1.0))
        assert not error.permanent


async def test_a_receiver_that_never_answers_is_left_after_its_time():
    async with Receiver(gate=asyncio.Event()) as there:
        error = await refused(webhook(there.url(), seconds=0.2))
        assert (str(error), error.permanent) == ("no answer within 0.2 s", False)


@pytest.mark.parametrize("junk", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n"])
async def test_an_answer_that_is_no_http_may_get_better(junk):
    async with Receiver([junk]) as there:
        assert not (await refused(webhook(there.url()))).permanent


async def test_a_receiver_that_is_down_may_come_back():
    async with Receiver() as there:
        url = there.url()
    error = await refused(webhook(url))
    assert (error.permanent, error.status_code) == (False, None)


# -- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for hook.test, and its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=hook.test"]
    command += ["-addext", "subjectAltName=DNS:hook.test", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text(key.read_text() + cert.read_text())
    return both


@pytest.mark.parametrize(("name", "fits"), [("hook.test", True), ("other.test", False)])
async def test_tls_asks_for_the_name_although_the_address_is_pinned(certificate, name, fits):
    async def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with Receiver(ssl_context=serving) as there:
        url = there.url(name, scheme="https")
        egress = Egress(networks=HERE, resolver=resolver)
        hook = webhook(url, egress=egress, ssl_context=trusting)
        if fits:
            assert (await hook.deliver(item(address="here"))).status_code == 204
        else:
            assert "certificate" in str(await refused(hook)).lower()
        assert len(there.seen) == fits


# -- who may name what -------------------------------------------------------------------------


def problem(hook: Webhook, address: str) -> str | None:
    return hook.problem(DeliveryTarget(kind="webhook", address=address))


def test_an_unknown_endpoint_names_those_that_are_there():
    assert problem(webhook(), "here") is None
    assert problem(webhook(), "ther") == (
        "unknown webhook endpoint `ther`; configured: here; or give an URL"
    )
    assert problem(Webhook(), "here") == (
        "unknown webhook endpoint `here`; configured: none (set EXECUTUS_WEBHOOK_<NAME> on the "
        "worker); or give an URL"
    )


def test_an_endpoint_is_found_in_upper_and_lower_case_as_its_variable_is_written():
    hook = Webhook.from_environment({"EXECUTUS_WEBHOOK_OPS": "https://e.com/"})
    assert [problem(hook, name) for name in ("ops", "OPS", "Ops")] == [None] * 3
    both = Webhook({"ops": Endpoint("https://e.com/"), "OPS": Endpoint("https://e.com/", "GONE")})
    assert problem(both, "ops") is None
    assert "GONE" in str(problem(both, "OPS")), "the exact name comes first"


def test_a_callers_url_is_held_to_the_egress_and_an_endpoints_to_its_addresses_only():
    egress = Egress(hosts=["hooks.example.com"])
    hook = webhook("http://10.0.0.5:9000/x", egress=egress)
    assert problem(hook, "here") is None, "the host wrote that URL"
    assert "not allowed" in str(problem(hook, "https://example.com/"))


def test_a_missing_or_broken_secret_is_told_and_never_means_unsigned():
    hook = Webhook({"a": Endpoint("https://e.com/", "NOT_THERE")}, secrets={})
    assert problem(hook, "a") == "webhook: the secret NOT_THERE is not set on this worker"
    hook = Webhook({"a": Endpoint("https://e.com/", "S")}, secrets={"S": "whsec_pass!"})
    told = str(problem(hook, "a"))
    assert "whsec_` and base64" in told
    assert "pass" not in told


async def test_a_callers_url_goes_unsigned_or_with_a_secret_of_its_own():
    async with Receiver() as there:
        egress = Egress(networks=HERE, http=True, ports=frozenset({there.port}))
        await webhook(egress=egress).deliver(item(address=there.url()))
        environ = {"EXECUTUS_DELIVERY_SECRET": SECRET}
        hook = Webhook.from_environment(environ, egress=egress)
        await hook.deliver(item(address=there.url()))
        plain, signed = there.seen
    assert "webhook-signature" not in plain.headers
    assert plain.headers["webhook-id"]
    Standard(SECRET).verify(signed.body, signed.headers)


@pytest.mark.parametrize("url", ["ftp://x/", "nonsense", "https://user:pass@example.com/"])
def test_an_endpoint_that_cannot_be_is_refused_when_the_host_is_composed(url):
    with pytest.raises(ConfigError, match="webhook endpoint `a`") as raised:
        Webhook({"a": Endpoint(url)})
    assert ":pass" not in str(raised.value)


def test_endpoints_come_from_the_environment():
    environ = {
        "EXECUTUS_WEBHOOK_ORDERS": "https://example.com/orders",
        "EXECUTUS_WEBHOOK_ORDERS_SECRET": SECRET,
        "EXECUTUS_WEBHOOK_LOG": "https://example.com/log",
        "EXECUTUS_WEBHOOK_EMPTY": "",
    }
    hook = Webhook.from_environment(environ)
    assert problem(hook, "orders") is None
    assert "configured: log, orders" in str(problem(hook, "none"))
    environ["EXECUTUS_WEBHOOK_ORDERS_SECRET"] = "junk"
    assert problem(hook, "orders") is not None, "the secret is read when it is needed"
