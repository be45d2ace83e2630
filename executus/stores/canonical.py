"""One text for one value, and one identifier for one name, on every store."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

from executus.sanitize import clean_json, clean_text

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_IDENT = 255
"""Bytes of an identifier. PostgreSQL refuses to index texts over 2,704 bytes; SQLite does not."""


def canonical(value: object) -> str:
    """`value` as JSON with sorted keys and no spaces, in ASCII: any database encoding takes it."""
    return plain(clean_json(value))


def plain(value: object) -> str:
    """`canonical` of what `clean_json` made."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def ident(text: str) -> str:
    """`text` as it stands in key columns: itself when it is short and printable.

    Otherwise a readable part and the digest of the whole, so that two names which differ only in
    what had to be cut or cleaned stay two names.
    """
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= MAX_IDENT and text.isprintable() and clean_text(text) == text:
        return text
    head = "".join(c if c.isprintable() else "?" for c in clean_text(text[:40]))
    return f"{head}~{hashlib.sha256(raw).hexdigest()[:32]}"


def micros(at: datetime) -> int:
    """Microseconds since 1970 UTC; a time without zone counts as UTC."""
    aware = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


def moment(us: int) -> datetime:
    """The UTC time of `micros`."""
    return EPOCH + timedelta(microseconds=us)
