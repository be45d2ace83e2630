"""Signatures, held against the standard's own library in both directions."""

import base64
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook as Standard
from standardwebhooks import WebhookVerificationError

from executus.delivery import verify
from executus.delivery.signature import sign
from executus.errors import BadSignature, ConfigError

from .kit import SECRET, item

OTHER = "whsec_" + base64.b64encode(b"another secret, 24 bytes").decode()


def signed(secret: str = SECRET, *, at: float | None = None) -> tuple[dict[str, str], bytes]:
    sent = item()
    return sign(sent.id, sent.body, secret, at=at), sent.body


def test_the_standards_library_verifies_what_we_sign():
    headers, body = signed()
    assert Standard(SECRET).verify(body, headers)["data"]["run_id"] == "run-1"


def test_the_standards_library_refuses_what_was_altered_or_is_old():
    headers, body = signed()
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Standard(SECRET).verify(body.replace(b"done", b"gone"), headers)
    headers, body = signed(at=time.time() - 400)
    with pytest.raises(WebhookVerificationError, match="too old"):
        Standard(SECRET).verify(body, headers)


def test_we_verify_what_the_standards_library_signs():
    sent, now = item(), datetime.now(UTC)
    headers = {
        "Webhook-Id": sent.id,
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": Standard(SECRET).sign(sent.id, now, sent.body.decode()),
    }
    assert verify(headers, sent.body, SECRET) == sent.event


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"webhook-signature": ""}, "no webhook-signature"),
        ({"webhook-id": "run_other"}, "does not match"),
        ({"webhook-signature": "v1,AAAA junk v2,x"}, "does not match"),
        ({"webhook-timestamp": "1"}, "too old"),
        ({"webhook-timestamp": str(int(time.time()) + 4_000)}, "too old, or replayed"),
        ({"webhook-timestamp": "1e9"}, "too old"),
        ({"webhook-timestamp": "9" * 5_000}, "too old"),
    ],
)
def test_a_forged_or_stale_delivery_is_refused(change, says):
    headers, body = signed()
    with pytest.raises(BadSignature, match=says):
        verify({**headers, **change}, body, SECRET)


def test_an_altered_body_or_another_secret_is_refused():
    headers, body = signed()
    for forged, secret in ((body + b" ", SECRET), (body, OTHER)):
        with pytest.raises(BadSignature, match="does not match"):
            verify(headers, forged, secret)


def test_while_a_secret_changes_both_sides_may_have_either():
    headers, body = signed(f"{OTHER} {SECRET}")
    assert verify(headers, body, SECRET) == verify(headers, body, OTHER)
    headers, body = signed(OTHER)
    assert verify(headers, body, f"{SECRET},{OTHER}").data.output == "done"


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_abc!", "hunter2hunter2!!", "whsec_c2hvcnQ="]
)
def test_what_cannot_be_a_secret_is_refused_without_showing_it(secret):
    with pytest.raises(ConfigError) as raised:
        signed(secret)
    assert not secret.removeprefix("whsec_") or secret not in str(raised.value)


def test_a_receiver_ignores_fields_of_later_versions():
    sent = item()
    body = sent.body[:-1] + b',"added":1}'
    body = body.replace(b'"run_id"', b'"colour":"red","run_id"')
    event = verify(sign(sent.id, body, SECRET), body, SECRET)
    assert (event.id, event.data.run_id) == (sent.id, "run-1")


def test_signed_junk_is_no_delivery():
    with pytest.raises(BadSignature, match="no delivery"):
        verify(sign("x", b"{}", SECRET), b"{}", SECRET)
