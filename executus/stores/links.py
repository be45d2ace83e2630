"""Entries of the audit's chain: one before it has its place, and one in it, sealed."""

import hashlib
from typing import NamedTuple, Self

from executus.stores.canonical import canonical


class Draft(NamedTuple):
    """An entry before it has its place."""

    entry: str
    key: str
    kind: str
    name: str
    status: str
    at: int
    body: str


class Link(NamedTuple):
    """An entry in its place; `at` in microseconds, `body` canonical JSON."""

    run_id: str
    seq: int
    entry: str
    key: str
    kind: str
    name: str
    status: str
    at: int
    body: str
    hash: str

    @property
    def draft(self) -> Draft:
        """The entry without its place."""
        entry, key, kind, name, status, at, body = self[2:9]
        return Draft(entry, key, kind, name, status, at, body)

    @classmethod
    def seal(cls, run_id: str, seq: int, previous: str, draft: Draft) -> Self:
        """Put `draft` behind the entry whose hash is `previous` (empty at the start)."""
        return cls(run_id, seq, *draft, hash=seal(previous, run_id, seq, draft))


def seal(previous: str, run_id: str, seq: int, draft: Draft) -> str:
    """Hash of an entry in its place."""
    return hashlib.sha256(canonical([previous, run_id, seq, *draft]).encode("ascii")).hexdigest()
