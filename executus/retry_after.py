"""When the other side asks to come again: the header Retry-After, or its words."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

SPOKEN = re.compile(
    r"(?:retry|try again) (?:in|after) "
    r"(?:(\d{1,9})h)?(?:(\d{1,9})m(?!s))?(?:(\d{1,9}(?:\.\d{1,9})?) ?(ms|s(?:ec(?:ond)?s?)?)\b)?",
    re.IGNORECASE,
)
"""`7m12.5s`, `129ms`, `26 seconds`."""


def spoken_wait(words: str) -> float | None:
    """Seconds to wait that an error's message asks for, or None.

    OpenAI, Azure, Google and Groq say it there, some of them only there.
    """
    found = SPOKEN.search(words)
    if found is None or not any(found.groups()):
        return None
    hours, minutes, last = (float(found[n] or 0) for n in (1, 2, 3))
    unit = 1000 if (found[4] or "").lower() == "ms" else 1
    return hours * 3600 + minutes * 60 + last / unit


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the other side asks to wait, or None; junk is None, a moment in the past is 0.

    Reads `retry-after-ms`, then `retry-after` as seconds or as an HTTP date. Uncapped: the caller
    knows how much time is left.
    """
    lower = {str(k).lower(): str(v) for k, v in headers.items()}
    if (milliseconds := _number(lower.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    value = lower.get("retry-after", "")
    if (seconds := _number(value)) is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, LookupError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _number(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None
