"""One digest for everything that is named by its content."""

import hashlib


def digest(data: bytes) -> str:
    """SHA-256 of `data`, the first 128 bits, as 32 hex digits.

    Enough to tell contents apart and half the bytes in history; the audit chain uses all 256 bits.
    """
    return hashlib.sha256(data).hexdigest()[:32]


def chain(head: str, item: str) -> str:
    """The head of a digest chain after one more item: digest(head + item)."""
    return digest(f"{head}{item}".encode("ascii"))
