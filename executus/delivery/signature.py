"""Standard Webhooks signatures (standardwebhooks.com): made for what is sent, checked on receipt.

A secret is `whsec_` and base64. While it is being changed two may hold: write both, separated by a
space or comma; what is sent carries a signature of each, and either is enough to verify.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping

from pydantic import ValidationError

from executus.errors import BadSignature, ConfigError
from executus.letter import DeliveryEvent

PREFIX = "whsec_"
TOLERANCE = 300.0
"""Seconds a delivery may be old, or ahead of the receiver's clock."""
MIN_KEY = 16
"""Bytes of a secret. The standard asks for 24 to 64; 16 cannot be guessed either."""
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"


def sign(delivery_id: str, body: bytes, secret: str, *, at: float | None = None) -> dict[str, str]:
    """The headers that prove `body`; `at` in seconds since 1970, now when None.

    Raises:
        ConfigError: the secret is none; never with its value in the message.
    """
    moment = str(int(time.time() if at is None else at))
    signatures = [_mac(key, delivery_id, moment, body) for key in _keys(secret)]
    return {ID: delivery_id, TIMESTAMP: moment, SIGNATURE: " ".join(signatures)}


def verify(
    headers: Mapping[str, str],
    body: bytes,
    secret: str,
    *,
    tolerance: float = TOLERANCE,
    at: float | None = None,
) -> DeliveryEvent:
    """What a receiver calls first: the event, if the delivery is genuine and fresh.

    `body` are the bytes as they came, not parsed and written again. A delivery may come more than
    once: `webhook-id` is the same each time.

    Raises:
        BadSignature: it is not; says why.
        ConfigError: the secret is none.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in (ID, TIMESTAMP, SIGNATURE) if not lower.get(name)]
    if missing:
        raise BadSignature(f"not signed: no {', '.join(missing)}")
    moment, now = lower[TIMESTAMP], time.time() if at is None else at
    if not (moment.isascii() and moment.isdigit()) or abs(now - int(moment[:15])) > tolerance:
        raise BadSignature(
            f"its time is more than {tolerance:.0f} s from now: too old, or replayed"
        )
    given = [signature.encode() for signature in lower[SIGNATURE].split()]
    wanted = [_mac(key, lower[ID], moment, body).encode() for key in _keys(secret)]
    if not any(hmac.compare_digest(one, other) for one in given for other in wanted):
        raise BadSignature("the signature does not match: another secret, or an altered body")
    try:
        return DeliveryEvent.model_validate_json(body)
    except ValidationError as error:
        raise BadSignature(f"signed, but no delivery of executus: {error.title}") from None


def check_secret(secret: str) -> None:
    """Refuse what cannot sign.

    Raises:
        ConfigError: the secret is none.
    """
    _keys(secret)


def _keys(secret: str) -> list[bytes]:
    keys: list[bytes] = []
    for part in secret.replace(",", " ").split():
        text = part.removeprefix(PREFIX)
        try:
            keys.append(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
        except (binascii.Error, ValueError):
            raise ConfigError("a webhook secret must be `whsec_` and base64") from None
    if not keys or any(len(key) < MIN_KEY for key in keys):
        raise ConfigError(f"a webhook secret must have at least {MIN_KEY} bytes")
    return keys


def _mac(key: bytes, delivery_id: str, moment: str, body: bytes) -> str:
    signed = f"{delivery_id}.{moment}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"
