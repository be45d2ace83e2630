"""Webhook: POST the event to an URL, signed, and believe nothing of the answer but its status."""

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import NamedTuple

import httpcore2

from executus.delivery.egress import Egress, GuardedBackend, parse_url
from executus.delivery.signature import check_secret, sign
from executus.delivery_target import DeliveryTarget
from executus.errors import ConfigError, DeliveryError
from executus.letter import DeliveryItem, DeliveryReceipt
from executus.redact import Redactor
from executus.retry_after import retry_after
from executus.sanitize import clean_line

SECONDS = 15.0
"""One attempt may take: resolving, connecting, sending and the answer's head."""
RETRIED = frozenset({408, 425, 429})
"""Client errors that pass; all other ones mean that the same request will be refused again."""
PREFIX = "EXECUTUS_WEBHOOK_"
URL_SECRET = "EXECUTUS_DELIVERY_SECRET"  # noqa: S105 - a variable's name
SECRET_SUFFIX = "_SECRET"  # noqa: S105 - the end of a variable's name


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver that the host configured: named by callers, who need not know its URL."""

    url: str
    """Where; any port, and plain http if it says so. Its addresses are checked all the same."""
    secret: str | None = None
    """Name of the variable that holds its signing secret; None = not signed."""


class _Post(NamedTuple):
    """One request to be made."""

    url: str
    secret: str | None


class Webhook:
    """Delivers to configured endpoints by name, and to URLs that `egress` allows."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint] | None = None,
        *,
        egress: Egress | None = None,
        url_secret: str | None = None,
        secrets: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Compose.

        Args:
            endpoints: Receivers by name; a caller may write it in upper or lower case.
            egress: Where it may connect; None = https to public addresses, any host.
            url_secret: Name of the variable whose secret signs deliveries to a caller's own URL.
                Whoever may start a run can then get signed events: not one of an endpoint's.
            secrets: Where the secrets are; None = the environment. They stay in this process.
            seconds: What one attempt may take.
            ssl_context: For receivers with a private certificate authority.

        Raises:
            ConfigError: an endpoint's URL cannot be.
        """
        self._endpoints = dict(endpoints or {})
        self._by_lower = {name.lower(): there for name, there in self._endpoints.items()}
        self._egress = egress or Egress()
        self._url_secret = url_secret
        self._secrets = os.environ if secrets is None else secrets
        self._seconds = seconds
        self._ssl = ssl_context
        for name, endpoint in self._endpoints.items():
            try:
                url = parse_url(endpoint.url)
            except DeliveryError as error:
                raise ConfigError(f"webhook endpoint `{name}`: {error}") from None
            if url.userinfo:
                text = "a password in its URL is not sent; receivers check the signature"
                raise ConfigError(f"webhook endpoint `{name}`: {text}")

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str], *, egress: Egress | None = None
    ) -> "Webhook":
        """Endpoints from `EXECUTUS_WEBHOOK_<NAME>` (URL) and `EXECUTUS_WEBHOOK_<NAME>_SECRET`.

        A name is lower case. `EXECUTUS_DELIVERY_SECRET` signs deliveries to callers' own URLs.
        Secrets are read when they are needed, so they can be changed.
        """
        endpoints: dict[str, Endpoint] = {}
        for key, url in environ.items():
            if key.startswith(PREFIX) and not key.endswith(SECRET_SUFFIX) and url:
                secret = key + SECRET_SUFFIX
                name = key.removeprefix(PREFIX).lower()
                endpoints[name] = Endpoint(url, secret if secret in environ else None)
        own = URL_SECRET if URL_SECRET in environ else None
        return cls(endpoints, egress=egress, url_secret=own, secrets=environ)

    def problem(self, target: DeliveryTarget) -> str | None:
        """Why nothing can be delivered there, if so."""
        try:
            post = self._post(target)
            if post.secret is not None:
                check_secret(post.secret)
        except (DeliveryError, ConfigError) as error:
            return str(error)
        return None

    async def deliver(self, item: DeliveryItem) -> DeliveryReceipt:
        """Send it once.

        Raises:
            DeliveryError: it did not land.
        """
        post = self._post(item.target)
        try:
            async with asyncio.timeout(self._seconds):
                status, headers = await self._send(post, item)
        except TimeoutError:
            raise DeliveryError(f"no answer within {self._seconds:g} s") from None
        except (httpcore2.TimeoutException, httpcore2.NetworkError) as error:
            raise DeliveryError(_told(error)) from None
        except (httpcore2.ProtocolError, ssl.SSLError, OSError) as error:
            raise DeliveryError(_told(error)) from None
        _judge(status, headers)
        return DeliveryReceipt(
            id=item.id,
            target=item.target.shown,
            delivered_at=datetime.now(UTC),
            status_code=status,
        )

    def _post(self, target: DeliveryTarget) -> _Post:
        """What to send where.

        Raises:
            DeliveryError: it is not allowed or not configured.
        """
        address = target.address
        if "://" in address:
            problem = self._egress.problem(address)
            if problem is not None:
                raise DeliveryError(f"webhook: {problem}", permanent=True)
            return _Post(address, self._secret(self._url_secret))
        endpoint = self._endpoints.get(address) or self._by_lower.get(address.lower())
        if endpoint is None:
            known = ", ".join(sorted(self._endpoints)) or f"none (set {PREFIX}<NAME> on the worker)"
            text = f"unknown webhook endpoint `{clean_line(address, 64)}`; configured: {known}"
            raise DeliveryError(f"{text}; or give an URL", permanent=True)
        return _Post(endpoint.url, self._secret(endpoint.secret))

    def _secret(self, name: str | None) -> str | None:
        """The secret of that name; one that is missing is never "unsigned".

        Raises:
            DeliveryError: it is not there.
        """
        if name is None:
            return None
        value = self._secrets.get(name)
        if not value:
            raise DeliveryError(f"webhook: the secret {name} is not set on this worker")
        return value

    async def _send(self, post: _Post, item: DeliveryItem) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer.

        Its body is not read: nobody needs it, and it may be endless. A redirect is an answer like
        others: the place it names was never checked.
        """
        url, body = parse_url(post.url), item.body
        headers = {
            "host": url.netloc.decode("ascii"),
            "content-type": "application/json",
            "content-length": str(len(body)),
            "user-agent": f"executus/{version('executus')}",
            "connection": "close",
            "webhook-id": item.id,
        }
        if post.secret is not None:
            headers |= sign(item.id, body, post.secret)
        pool = httpcore2.AsyncConnectionPool(
            ssl_context=self._ssl, network_backend=GuardedBackend(self._egress)
        )
        async with (
            pool,
            pool.stream(
                "POST",
                httpcore2.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                ),
                headers=list(headers.items()),
                content=body,
            ) as answer,
        ):
            pairs = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in answer.headers]
            return answer.status, dict(pairs)


def _judge(status: int, headers: Mapping[str, str]) -> None:
    """Raise what the status means; 2xx means delivered."""
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP, as below
        return
    text = f"the receiver answered {status}"
    if 300 <= status < 400:  # noqa: PLR2004
        raise DeliveryError(
            f"{text}: redirects are not followed", permanent=True, status_code=status
        )
    permanent = 400 <= status < 500 and status not in RETRIED  # noqa: PLR2004
    wish = None if permanent else retry_after(headers)
    raise DeliveryError(text, permanent=permanent, retry_after=wish, status_code=status)


def _told(error: Exception) -> str:
    """A transport's error in one line."""
    text = clean_line(Redactor().text(str(error)), 200)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
