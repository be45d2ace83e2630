"""What of a run's content enters the audit, decided before anything is written.

Whatever the policy, the SHA-256 and the length of the original are kept: a redacted record still
answers which tool ran, when, at what cost, on which content (reliability.md B-8).
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import JsonValue

from executus.redact import Redactor, hide_in_arguments
from executus.sanitize import cap_text, clean_json, clean_line, clean_text
from executus.stores.canonical import canonical, plain

ContentRule = Literal["redact", "digest"]
"""redact: values are kept with secrets hidden. digest: only length and digest are kept."""


class TextRedactor(Protocol):
    """What hides secrets: `executus.redact.Redactor`, or a host's own."""

    def text(self, text: str) -> str:
        """`text` with secrets replaced."""
        ...

    def value(self, value: JsonValue) -> JsonValue:
        """`value` with secrets replaced, by key name and by shape."""
        ...


ESCAPED = 12
"""Bytes that a character may take in ASCII JSON: two escapes of six."""
SMALL = 400
"""Bytes of everything that is kept beside a value, at most."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How much content is kept."""

    content: ContentRule = "redact"
    """For everything that has no rule of its own."""
    tools: Mapping[str, ContentRule] = field(default_factory=dict[str, ContentRule])
    """Tool name -> rule for its rows."""
    text_bytes: int = 65_536
    """Bytes of one text that are kept: head and tail of a longer one."""
    total_bytes: int = 1_048_576
    """A value that is larger, as JSON, keeps its length and digest only."""
    digest_key: bytes | None = None
    """With it digests are HMACs, so that short secrets cannot be guessed from them."""


class Redaction:
    """A policy applied. A redactor that fails costs the content, never the record."""

    def __init__(self, redactor: TextRedactor | None = None, policy: Policy | None = None) -> None:
        self._redactor: TextRedactor = redactor or Redactor()
        self._policy = policy or Policy()

    def rule(self, tool: str | None) -> ContentRule:
        """The rule for a tool's rows, or for everything else."""
        if tool is None:
            return self._policy.content
        return self._policy.tools.get(tool, self._policy.content)

    def keep(self, name: str, value: object, rule: ContentRule) -> dict[str, JsonValue]:
        """`value`, standing under the key `name`, as it may be stored.

        `value` is absent when the rule, the size or a failing redactor forbids it; `bytes` and
        `sha256` always describe the cleaned original.
        """
        clean = clean_json(value)
        text = clean if isinstance(clean, str) else plain(clean)
        data = text.encode("utf-8")
        kept: dict[str, JsonValue] = {"bytes": len(data), "sha256": self._digest(data)}
        if rule == "digest":
            return kept
        try:
            kept["value"] = self._visible(name, clean)
        except Exception as failure:  # noqa: BLE001 - a host's redactor may raise anything
            kept["withheld"] = f"redactor failed: {type(failure).__name__}"
        return kept if self._fits(kept) else _withheld(kept)

    def line(self, text: str, limit: int) -> str:
        """One line for people, secrets hidden; its length and digest when the redactor fails."""
        try:
            return clean_line(self._redactor.text(clean_line(text, limit * 4)), limit)
        except Exception:  # noqa: BLE001 - a host's redactor may raise anything
            data = clean_text(text).encode("utf-8")
            digest = self._digest(data)
            return f"(withheld: {len(data)} bytes, sha256 {digest})" if data else ""

    def bounded(self, value: object) -> JsonValue:
        """Host configuration as it is, or its length and digest when it is too large."""
        text = canonical(value)
        if len(text) <= self._policy.total_bytes:
            return clean_json(value)
        data = text.encode("ascii")
        return _withheld({"bytes": len(data), "sha256": self._digest(data)})

    def _fits(self, kept: dict[str, JsonValue]) -> bool:
        value, limit = kept.get("value"), self._policy.total_bytes
        if isinstance(value, str) and len(value) * ESCAPED + SMALL < limit:
            return True  # the usual case, without making its JSON
        return len(plain(kept)) <= limit

    def _visible(self, name: str, clean: JsonValue) -> JsonValue:
        # Cut roughly, redact, cut exactly: a secret that the first cut splits lies in the part
        # that the second one drops, and patterns never run over megabytes.
        rough = _cap(self._in_calls(name, clean), self._policy.text_bytes * 4)
        hidden = self._redactor.value({name: rough})
        if not isinstance(hidden, dict):
            raise TypeError(f"redactor returned {type(hidden).__name__} for an object")
        return _cap(clean_json(hidden[name]), self._policy.text_bytes)

    def _in_calls(self, name: str, value: JsonValue) -> JsonValue:
        """`value` with the arguments of calls looked at as JSON: as text they show no key names.

        They are bounded (`MAX_ARGUMENTS`); their head and tail alone would show no key of a value.
        """
        if isinstance(value, str):
            return hide_in_arguments(value, self._redactor.value) if name == "arguments" else value
        if isinstance(value, list):
            return [self._in_calls("", item) for item in value]
        if isinstance(value, dict):
            return {key: self._in_calls(key, item) for key, item in value.items()}
        return value

    def _digest(self, data: bytes) -> str:
        key = self._policy.digest_key
        if key is None:
            return hashlib.sha256(data).hexdigest()
        return hmac.new(key, data, hashlib.sha256).hexdigest()


def _withheld(kept: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {"bytes": kept["bytes"], "sha256": kept["sha256"], "withheld": "too large"}


def _cap(value: JsonValue, limit: int) -> JsonValue:
    if isinstance(value, str):
        # A character has four bytes at most: the usual text fits without being encoded.
        return value if len(value) * 4 <= limit else cap_text(value, limit).text
    if isinstance(value, list):
        return [_cap(item, limit) for item in value]
    if isinstance(value, dict):
        return {key: _cap(item, limit) for key, item in value.items()}
    return value
