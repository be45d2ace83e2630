"""The audit's hash chain: what is written, how it is sealed, how it is proved.

A run has one chain of entries: its opening, its rows, its close, and whatever comes late or after
a reset (`standing.py` says which close counts then). Each entry's SHA-256 covers the previous one's
and every column of its own, so an entry that is edited, removed, swapped or put in breaks the chain
at its place. The run's row says how long the chain is and where it ends, so a cut tail shows too;
the close's hash leaves the database in `RunResult.audit_head`.
"""

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pydantic import JsonValue

from executus.audit import AuditBreak, AuditClose, AuditOpen, AuditRow, in_execution
from executus.sanitize import clean_json, clean_line
from executus.stores.canonical import canonical, ident, micros, plain
from executus.stores.links import Draft, Link, seal
from executus.stores.redaction import ContentRule, Redaction
from executus.stores.standing import standing_close

MAX_BIGINT = 2**63 - 1
MAX_NAME = 255
"""Characters of a name."""
MAX_PLACE = 80
"""Characters of an entry's name in a proof."""
MAX_LINE = 200
"""Characters of a summary."""
MAX_ERROR = 2_000
"""Characters of an outcome's sentence."""


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
    if row.kind == "reset":
        return _draft_reset(redaction, row)
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


def _draft_reset(redaction: Redaction, row: AuditRow) -> Draft:
    """A reset as an entry: what it says of other entries is no content, and never withheld."""
    body = {"reason": redaction.line(row.summary, MAX_LINE), **row.content}
    return Draft("reset", ident(row.key), "", "reset", "", micros(row.at), canonical(body))


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
    at, key = micros(closing.ended_at), ident(in_execution("close", closing.execution))
    return Draft("close", key, "", closing.reason, closing.status, at, canonical(body))


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


def closing_columns(close: Link | None) -> dict[str, JsonValue]:
    """What a run's row repeats of the close that counts, if there is one."""
    names = ("status", "reason", "ended_at", "closed_by", "cost_micro_usd")
    if close is None:
        nothing: dict[str, JsonValue] = dict.fromkeys((*names, "closed_head", "closed_entries"))
        return nothing | {"n_close": 0}
    body: dict[str, JsonValue] = json.loads(close.body)
    cost = body["cost_micro_usd"]
    return {
        "status": close.status,
        "reason": close.name,
        "ended_at": close.at,
        "closed_by": body["closed_by"],
        "cost_micro_usd": cost if isinstance(cost, int) and abs(cost) <= MAX_BIGINT else None,
        "n_close": 1,
        "closed_head": close.hash,
        "closed_entries": close.seq + 1,
    }


def index_columns(marks: Iterable[Link]) -> dict[str, JsonValue]:
    """What a run's row must repeat of its chain: of its first entry and all that are no rows."""
    columns: dict[str, JsonValue] = {}
    found = list(marks)
    for link in found:
        if link.entry == "open":
            columns |= opening_columns(link.draft)
        elif "started_at" not in columns and link.entry != "close":
            columns |= stub_columns(link.at)
    return columns | closing_columns(standing_close(found))


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
        self._marks: list[Link] = []

    def feed(self, links: Iterable[Link]) -> AuditBreak | None:
        """The first link that does not hold, of the next ones in order of seq."""
        for link in links:
            if link.seq != self._count:
                return self._broken("the entry is missing, or another one took its place")
            if link.hash != seal(self._head, self._expected.run_id, self._count, link.draft):
                name = clean_line(f"{link.entry} `{link.key}`", MAX_PLACE)
                what = f"{name} was edited, replaced or moved: its hash does not match"
                return self._broken(what)
            self._head, self._count = link.hash, self._count + 1
            if link.entry != "row" or not self._marks:
                self._marks.append(link)
        return None

    def finish(self) -> AuditBreak | None:
        """What is wrong with the chain's end or the run's row, once everything was fed."""
        expected = self._expected
        lacking = expected.entries - self._count
        if lacking > 0:
            return self._broken(f"the chain was cut: {lacking} entries are missing from here on")
        facts: dict[str, tuple[JsonValue, JsonValue]] = {
            "entries": (expected.entries, self._count),
            "head": (expected.head, self._head),
        }
        told = index_columns(self._marks)
        for name in ("n_close", "closed_head", "closed_entries"):
            facts[name] = (getattr(expected, name), told[name])
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
