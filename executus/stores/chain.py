"""The audit's hash chain: what is written, how it is sealed, how it is proved.

A run has one chain of entries: its opening, its rows, its close, and whatever comes late. Each
entry's SHA-256 covers the previous one's and every column of its own, so an entry that is edited,
removed, swapped or put in breaks the chain at its place. The run's row says how long the chain is
and where it ends, so a cut tail shows too; the close's hash leaves the database in
`RunResult.audit_head`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

from pydantic import JsonValue

from executus.audit import AuditBreak, AuditClose, AuditOpen, AuditRow
from executus.sanitize import clean_json, clean_line
from executus.stores.canonical import canonical, ident, micros, plain
from executus.stores.redaction import ContentRule, Redaction

MAX_BIGINT = 2**63 - 1
MAX_NAME = 255
"""Characters of a name."""
MAX_PLACE = 80
"""Characters of an entry's name in a proof."""
MAX_LINE = 200
"""Characters of a summary."""
MAX_ERROR = 2_000
"""Characters of an outcome's sentence."""


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
        return cls(run_id, seq, *draft, hash=_seal(previous, run_id, seq, draft))


def _seal(previous: str, run_id: str, seq: int, draft: Draft) -> str:
    return hashlib.sha256(canonical([previous, run_id, seq, *draft]).encode("ascii")).hexdigest()


def extend(run_id: str, seq: int, head: str, drafts: Iterable[Draft]) -> list[Link]:
    """The next links of a chain of `seq` entries that ends in `head`."""
    links: list[Link] = []
    for draft in drafts:
        link = Link.seal(run_id, seq, head, draft)
        links.append(link)
        seq, head = seq + 1, link.hash
    return links


def draft_open(redaction: Redaction, opening: AuditOpen) -> Draft:
    """The opening as an entry."""
    rule = redaction.rule(None)
    body: dict[str, object] = {
        "workflow_run_id": ident(opening.workflow_run_id),
        "parent_run_id": None if opening.parent_run_id is None else ident(opening.parent_run_id),
        "agent_id": ident(opening.agent_id),
        "caller_id": ident(opening.caller_id),
        "tenant_id": ident(opening.tenant_id),
        "channel_id": ident(opening.channel_id),
        "deadline_at": None if opening.deadline_at is None else micros(opening.deadline_at),
        "prompt": redaction.keep("prompt", opening.prompt, rule),
        "inputs": _kept(redaction, opening.inputs, rule),
        "models": [clean_line(spec, MAX_NAME) for spec in opening.models],
        "prices": redaction.bounded(opening.prices),
        "tools": [
            [clean_line(text, MAX_NAME) for text in (grant.name, grant.digest, grant.effect)]
            for grant in opening.tools
        ],
    }
    if opening.phases:
        body["phases"] = [clean_line(name, MAX_NAME) for name in opening.phases]
    name = clean_line(opening.agent_name, MAX_NAME)
    return Draft("open", "open", "", name, "", micros(opening.started_at), canonical(body))


def draft_row(redaction: Redaction, row: AuditRow) -> Draft:
    """A row as an entry; a tool's row follows that tool's rule."""
    rule = redaction.rule(row.name if row.kind == "tool" else None)
    body = {
        "seconds": clean_json(row.seconds),
        "summary": redaction.line(row.summary, MAX_LINE) if rule == "redact" else "",
        "content": _kept(redaction, row.content, rule),
        "usage": clean_json(row.usage),
        "cost_micro_usd": clean_json(row.cost_micro_usd),
    }
    name, status = clean_line(row.name, MAX_NAME), clean_line(row.status, MAX_NAME)
    return Draft("row", ident(row.key), row.kind, name, status, micros(row.at), plain(body))


def draft_close(redaction: Redaction, closing: AuditClose) -> Draft:
    """The outcome as an entry."""
    error = closing.error
    body: dict[str, object] = {
        "output": redaction.keep("output", closing.output, redaction.rule(None)),
        "error": None if error is None else redaction.line(error, MAX_ERROR),
        "iterations": closing.iterations,
        "steps": closing.steps,
        "usage": closing.usage.model_dump(),
        "cost_micro_usd": closing.cost_micro_usd,
        "closed_by": closing.closed_by,
    }
    at = micros(closing.ended_at)
    return Draft("close", "close", "", closing.reason, closing.status, at, canonical(body))


def _kept(
    redaction: Redaction, content: Mapping[str, JsonValue], rule: ContentRule
) -> dict[str, JsonValue]:
    return {ident(key): redaction.keep(key, value, rule) for key, value in content.items()}


def opening_columns(draft: Draft) -> dict[str, JsonValue]:
    """What a run's row repeats of its opening, for queries."""
    body: dict[str, JsonValue] = json.loads(draft.body)
    names = ("workflow_run_id", "parent_run_id", "agent_id", "caller_id", "tenant_id", "channel_id")
    columns = {name: body[name] for name in names}
    deadline = body["deadline_at"]
    return columns | {
        "agent_name": draft.name,
        "started_at": draft.at,
        "deadline_at": deadline,
        "due_at": draft.at if deadline is None else deadline,
    }


def closing_columns(draft: Draft) -> dict[str, JsonValue]:
    """What a run's row repeats of its close."""
    body: dict[str, JsonValue] = json.loads(draft.body)
    cost = body["cost_micro_usd"]
    return {
        "status": draft.status,
        "reason": draft.name,
        "ended_at": draft.at,
        "closed_by": body["closed_by"],
        "cost_micro_usd": cost if isinstance(cost, int) and abs(cost) <= MAX_BIGINT else None,
    }


def index_columns(drafts: Iterable[Draft]) -> dict[str, JsonValue]:
    """What a run's row must repeat of its whole chain."""
    columns: dict[str, JsonValue] = dict.fromkeys(
        ("status", "reason", "ended_at", "closed_by", "cost_micro_usd")
    )
    for draft in drafts:
        if draft.entry == "open":
            columns |= opening_columns(draft)
        elif draft.entry == "close":
            columns |= closing_columns(draft)
        elif "started_at" not in columns:
            columns |= stub_columns(draft.at)
    return columns


def stub_columns(at: int) -> dict[str, JsonValue]:
    """The row of a run whose first entry is not its opening."""
    texts = ("workflow_run_id", "agent_id", "agent_name", "caller_id", "tenant_id", "channel_id")
    columns: dict[str, JsonValue] = dict.fromkeys(texts, "")
    return columns | {"parent_run_id": None, "started_at": at, "deadline_at": None, "due_at": at}


class Expected(NamedTuple):
    """What a run's own row claims, to be compared with its chain."""

    run_id: str
    entries: int
    head: str
    n_close: int
    closed_head: str | None
    closed_entries: int | None
    columns: dict[str, JsonValue]
    """The columns that repeat what the opening and the close say."""


class Prover:
    """Checks one run's chain, a part at a time, so that a long one needs no memory."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._head: str = ""
        self._count = 0
        self._marks: list[Draft] = []
        self._closes: list[Link] = []

    def feed(self, links: Iterable[Link]) -> AuditBreak | None:
        """The first link that does not hold, of the next ones in order of seq."""
        for link in links:
            if link.seq != self._count:
                return self._broken("the entry is missing, or another one took its place")
            if link.hash != _seal(self._head, self._expected.run_id, self._count, link.draft):
                name = clean_line(f"{link.entry} `{link.key}`", MAX_PLACE)
                what = f"{name} was edited, replaced or moved: its hash does not match"
                return self._broken(what)
            self._head, self._count = link.hash, self._count + 1
            if link.entry != "row" or not self._marks:
                self._marks.append(link.draft)
            if link.entry == "close":
                self._closes.append(link)
        return None

    def finish(self) -> AuditBreak | None:
        """What is wrong with the chain's end or the run's row, once everything was fed."""
        expected, closes = self._expected, self._closes
        lacking = expected.entries - self._count
        if lacking > 0:
            return self._broken(f"the chain was cut: {lacking} entries are missing from here on")
        facts: dict[str, tuple[JsonValue, JsonValue]] = {
            "entries": (expected.entries, self._count),
            "head": (expected.head, self._head),
            "n_close": (expected.n_close, len(closes)),
            "closed_head": (expected.closed_head, closes[0].hash if closes else None),
            "closed_entries": (expected.closed_entries, closes[0].seq + 1 if closes else None),
        }
        told = index_columns(self._marks)
        facts |= {name: (value, told.get(name)) for name, value in expected.columns.items()}
        for name, (stored, computed) in facts.items():
            if stored != computed:
                what = f"column `{name}` of the run does not match its chain"
                return AuditBreak(run_id=expected.run_id, seq=None, what=what)
        return None

    def _broken(self, what: str) -> AuditBreak:
        return AuditBreak(run_id=self._expected.run_id, seq=self._count, what=what)


def prove(expected: Expected, links: Iterable[Link]) -> AuditBreak | None:
    """The first place where `links` (in order of seq) or the run's row do not hold together."""
    prover = Prover(expected)
    return prover.feed(links) or prover.finish()
