"""From any exception of a provider's client to one `ModelError`.

The provider SDKs are not imported here: what counts is read from the exception itself (status,
headers, body, class names), so the same table serves every adapter, and a host's own one too.
Rows, in the order they are tried:

====================================================  ====================================
what happened                                         fault
====================================================  ====================================
our own time limit, a transport timeout               timeout
no connection, or lost in the middle                  connection (`sent=False` when never made)
429 with a spend or quota code or text, 402           provider_quota
429, 413 for a request over a limit on its size       unsupported (by this target)
429 otherwise                                         rate_limited
400, 413, 422 about the context length                context_overflow
400, 422 about something the model cannot do          unsupported
404, or an unknown-model code                         not_found
401, 403                                              provider_auth
408                                                   timeout
409, 425, 5xx, 529                                    overloaded
any other 4xx                                         request_rejected
an error event or an error object after a 200         as the status that its type stands for
JSON that does not parse, a broken event, no stream   corrupt_response
anything else                                         unknown
====================================================  ====================================
"""

import re
from collections.abc import Mapping, Sequence

from executus.errors import ModelError, ModelFault
from executus.models.loose import is_object, obj, text
from executus.redact import Redactor
from executus.retry_after import retry_after, spoken_wait
from executus.sanitize import clean_line

MAX_MESSAGE = 500
"""Characters of an error message."""
MIN_SECRET = 6
"""Shorter texts are no secrets, and cutting them out would mangle every message."""

NEVER_CONNECTED = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "ConnectionRefusedError",
        "PoolTimeout",
        "ProxyError",
        "gaierror",
    }
)
"""Transport errors before the first byte: nothing was sent, nothing can be billed."""
TIMEOUTS = frozenset({"TimeoutError", "TimeoutException", "APITimeoutError"})
TRANSPORT = frozenset({"TransportError", "RequestError", "APIConnectionError", "OSError"})
CORRUPT = (ValueError, AssertionError, TypeError, LookupError, AttributeError, RecursionError)
"""What reading a reply raises when the reply is not what the protocol says."""

STATUS_OF_TYPE: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""Error types of events that arrive after a 200. Others starting with `invalid_`, `image_`,
`unsupported_` or naming a policy are the request's fault (400); the rest the server's (500)."""

QUOTA_CODES = frozenset(
    {
        "billing_error",
        "billing_hard_limit_reached",
        "enforced_spend_limit_reached",
        "insufficient_quota",
    }
)
MODEL_CODES = frozenset({"model_not_found", "model_not_available"})
REQUEST_TYPE = re.compile(r"^(?:invalid|image|unsupported|empty|failed_to_download)_|policy")
SPEND = re.compile(
    r"spend|quota|billing|credit balance|out of credits|insufficient funds", re.IGNORECASE
)
OVERFLOW = re.compile(
    r"context[_ ](?:length|window|size|limit)|(?:prompt|input) is too long"
    r"|maximum (?:context|prompt length|model length)|too many (?:input )?tokens"
    r"|token count\b.{0,40}\bexceeds|exceeded model token limit|reduce the length"
    r"|inputs`? tokens \+ `?max_new_tokens`? must be",
    re.IGNORECASE,
)
"""How OpenAI, Anthropic, Google, xAI, Mistral, Groq, Moonshot, vLLM, TGI and llama.cpp say it."""
OVER_LIMIT = re.compile(r"request too large for", re.IGNORECASE)
"""A request of more tokens than a minute has (OpenAI's 429, Groq's 413): it never passes there."""
INCAPABLE = re.compile(
    r"(?:does not|doesn't|do not) support|not supported (?:by|with|for) (?:this|the) model",
    re.IGNORECASE,
)

USER_IN_URL = re.compile(r"(?<=://)[^/\s]+(?=@)")
"""Everything up to the last @ of a URL's authority: a password may hold a colon or an @."""
REDACTOR = Redactor(
    patterns=(
        r"\bsk-[^\s\"',;)]+",  # also the half-masked keys that providers quote back
        r"(?i)(?<=x-api-key: )\S+",
    )
)


def scrub(message: str, secrets: Sequence[str] = ()) -> str:
    """One line of at most 500 characters without `secrets`, token shapes or URL credentials."""
    for secret in secrets:
        if len(secret) >= MIN_SECRET:
            message = message.replace(secret, "[redacted]")
    message = USER_IN_URL.sub("[redacted]", message[: MAX_MESSAGE * 8])
    return clean_line(REDACTOR.text(message), MAX_MESSAGE)


def classify(error: BaseException, *, provider: str, secrets: Sequence[str] = ()) -> ModelError:
    """Turn whatever a provider's client raised into a `ModelError`; never raises.

    Raise the result outside of the `except` block: then it carries no cause or context, and with
    them no request headers. `secrets` (the API key) are cut out of the message.
    """
    if isinstance(error, ModelError):
        return error
    names = {cls.__name__ for cls in type(error).__mro__}
    status = _status(error)
    body: object = getattr(error, "body", None)
    if status is not None or is_object(body):
        return from_payload(
            body,
            provider=provider,
            secrets=secrets,
            status=status,
            headers=_headers(error),
            fallback=str(error),
        )
    cause = error.__cause__ or error
    causes = {cls.__name__ for cls in type(cause).__mro__} | names
    sent = not causes & NEVER_CONNECTED
    fault: ModelFault = "unknown"
    if names & TIMEOUTS or causes & TIMEOUTS:
        fault = "timeout"
    elif names & TRANSPORT:
        fault = "connection"
    elif isinstance(error, CORRUPT):
        fault = "corrupt_response"
    message = scrub(f"{provider}: {type(cause).__name__}: {cause}", secrets)
    return ModelError(message, fault=fault, sent=sent)


def from_payload(
    payload: object,
    *,
    provider: str,
    secrets: Sequence[str] = (),
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    fallback: str = "",
) -> ModelError:
    """Classify a provider's error object: a status response's body, or an event after a 200.

    `status` None or below 400 means that the object itself must say what it stands for.
    """
    error = _inner(payload)
    words = _words(error)
    if status is None or status < 400:  # noqa: PLR2004 - HTTP
        status, shown = _stands_for(error, words), None
    else:
        shown = status
    said = (text(error.get("message")) or fallback)[: MAX_MESSAGE * 8]
    wish = retry_after(headers or {})
    if wish is None and status == 429:  # noqa: PLR2004 - HTTP
        wish = spoken_wait(said)
    fault = _fault(status, words, said, has_wish=wish is not None)
    label = f"{provider} answered {status}" if shown else f"{provider} broke off"
    return ModelError(
        scrub(f"{label}: {said}", secrets), fault=fault, retry_after=wish, status_code=shown
    )


def _fault(status: int, words: frozenset[str], said: str, *, has_wish: bool) -> ModelFault:  # noqa: C901, PLR0911 - one line per row of the table
    everything = f"{said} {' '.join(words)}"
    if status == 402 or words & QUOTA_CODES:  # noqa: PLR2004 - HTTP, as below
        return "provider_quota"
    if status in (413, 429) and OVER_LIMIT.search(said):
        return "unsupported"
    if status == 429:  # noqa: PLR2004
        return "provider_quota" if not has_wish and SPEND.search(said) else "rate_limited"
    if status == 404 or words & MODEL_CODES:  # noqa: PLR2004
        return "not_found"
    if status in (401, 403):
        return "provider_auth"
    if status in (400, 413, 422):
        if OVERFLOW.search(everything):
            return "context_overflow"
        if SPEND.search(said) and "credit" in said.lower():
            return "provider_quota"
        if INCAPABLE.search(said):
            return "unsupported"
    if status == 408:  # noqa: PLR2004
        return "timeout"
    if status in (409, 425) or status >= 500:  # noqa: PLR2004
        return "overloaded"
    return "request_rejected" if status >= 400 else "unknown"  # noqa: PLR2004


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _headers(error: BaseException) -> dict[str, str]:
    headers: Mapping[str, str] | None = getattr(getattr(error, "response", None), "headers", None)
    try:
        return dict(headers or {})
    except (TypeError, ValueError):
        return {}


def _inner(payload: object) -> dict[str, object]:
    """The object with `message`, `type` and `code`, however deep the provider wraps it."""
    for _ in range(2):
        payload = obj(payload).get("error") or payload
    return {"message": payload} if isinstance(payload, str) else obj(payload)


def _words(error: Mapping[str, object]) -> frozenset[str]:
    """Every machine-readable name in an error object: type, code, details.error_code."""
    nested = obj(error.get("details")).get("error_code")
    return frozenset(filter(None, map(text, (error.get("type"), error.get("code"), nested))))


def _stands_for(error: Mapping[str, object], words: frozenset[str]) -> int:
    """The status that an error without one stands for; 500 when it says nothing we know."""
    code = error.get("code")
    if isinstance(code, str) and re.fullmatch(r"[45][0-9]{2}", code):
        code = int(code)
    if isinstance(code, int) and 400 <= code < 600:  # noqa: PLR2004 - HTTP
        return code
    known = sorted(STATUS_OF_TYPE[word] for word in words if word in STATUS_OF_TYPE)
    if known:
        return known[-1]
    return 400 if any(REQUEST_TYPE.search(word) for word in words) else 500
