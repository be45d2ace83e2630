"""Hide secrets before anything is shown, summarised or stored.

Policy: values under tell-tale key names, and texts that match known token shapes. It errs on the
side of hiding. Lengths stay visible, so a person can still see that something was there.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Literal

from pydantic import JsonValue

from executus.broken_json import hide_in_broken
from executus.jsontext import ArgumentsError, parse_value

SECRET_KEYS = (
    "authorization",
    "api_key",
    "apikey",
    "access_key",
    "accesskey",
    "client_secret",
    "cookie",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "privatekey",
    "secret",
    "session_id",
    "sessionid",
    "signature",
    "token",
)
"""A key holding one of these words (case and dashes do not count) has its value hidden."""

QUOTE = r'"(?![,:}\]])'
"""A quote that ends no string of a JSON text: what follows one does not belong to its URL."""
CREDENTIALS = rf'(?<=://)(?:(?:[^/\s:@"]|{QUOTE})*:(?:[^/\s"]|{QUOTE})+|[^/\s:@?#"]+)(?=@)'
"""user:password in a URL, up to the last @; or a user alone, who may be a token."""
KEPT = "executus_kept"
"""Group of a pattern that is no part of the secret."""
QUERY = (
    rf"(?i)(?P<{KEPT}>[?&#][\w.-]*(?:token|key|secret|signature|password|sig)=)"
    rf'(?!\[redacted )(?:[^&\s"]|{QUOTE})+'
)
"""A secret in a URL's query. It comes last: its group would change the number of a host's."""
SECRET_PATTERNS: Mapping[str, tuple[str, ...]] = {
    r"\bsk-[A-Za-z0-9_-]{16,}": ("sk-",),  # OpenAI, Anthropic
    r"\b(?:ghp|gho|ghs|ghu|github_pat)_[A-Za-z0-9_]{20,}": (
        *("ghp_", "gho_", "ghs_", "ghu_", "github_pat_"),
    ),
    r"\bAKIA[0-9A-Z]{16}\b": ("akia",),
    r"\bxox[abprs]-[A-Za-z0-9-]{10,}": ("xox",),
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*": ("eyj",),  # a JSON web token
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)": (
        "-----begin",
    ),
    r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{12,}": ("bearer", "basic"),
    CREDENTIALS: ("@",),
    QUERY: ("token=", "key=", "secret=", "signature=", "password=", "sig="),
}
"""Shape of a secret -> pieces of which a text (case-folded) must hold one to match it. Looking for
the pieces first takes a fiftieth of the time of the expressions, and most texts hold none."""
LONG_NAME = 100
_BUILT_IN = tuple(SECRET_PATTERNS.items())
_WORDS = tuple(key.lower().replace("-", "_") for key in SECRET_KEYS)
COUNT_KEYS = re.compile(r"(?:_tokens|^tokens|max_tokens|token_count|token_limit)$")
"""`input_tokens` and the like are counts, not secrets: numbers under them are shown."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_as_json = json.JSONEncoder(ensure_ascii=False).encode
"""Made once: `json.dumps` with an option makes an encoder for each call."""

Name = Literal["secret", "count", "open"]
"""What stands under a key: a secret, a count if it is a number, anything."""


class Redactor:
    """A redaction policy; safe to share."""

    def __init__(self, keys: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        """Add `keys` (words) and `patterns` (regular expressions) to the built-in ones."""
        # A sum with nothing is the same tuple: each run has a redactor, most of them add nothing.
        self._keys = _WORDS + tuple(key.lower().replace("-", "_") for key in keys)
        own = tuple((pattern, ("",)) for pattern in patterns)
        self._shapes = _BUILT_IN[:-1] + own + _BUILT_IN[-1:] if own else _BUILT_IN
        _expression(tuple(pattern for pattern, _ in self._shapes))  # a wrong one is told of now

    def text(self, text: str) -> str:
        """`text` with every known token shape replaced."""
        folded = text.casefold()
        found: list[str] = []
        for pattern, pieces in self._shapes:
            for piece in pieces:  # no `any`: a generator a shape took longer than the search
                if piece in folded:
                    found.append(pattern)
                    break
        if not found:
            return text
        return _expression(tuple(found)).sub(_stand_in, text)

    def value(self, value: JsonValue) -> JsonValue:
        """`value` with secrets replaced, by key name and by shape."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {k: self._under(k, v) for k, v in value.items()}
        return value

    def is_secret(self, key: str) -> bool:
        """Whether the value under `key` is hidden whatever it is."""
        return self._known(key) == "secret"

    def _under(self, key: str, value: JsonValue) -> JsonValue:
        match self._known(key):
            case "secret":
                return _hide(value)
            case "count":
                return _counts(value)
            case _:
                return self.value(value)

    def _known(self, key: str) -> Name:
        # The same few names all the time; one that may be of any size is not kept.
        known = _name if len(key) < LONG_NAME else _name.__wrapped__
        return known(key, self._keys)


def _hide(value: JsonValue) -> JsonValue:
    return None if value is None else f"[redacted {len(str(value))}]"


def _counts(value: JsonValue) -> JsonValue:
    """Numbers as they are: a text is no count."""
    if isinstance(value, str):
        return _hide(value)
    if isinstance(value, list):
        return [_counts(item) for item in value]
    if isinstance(value, dict):
        return {key: _counts(item) for key, item in value.items()}
    return value


def hide_in_arguments(
    arguments: str, hide: Callable[[JsonValue], JsonValue], parsed: JsonValue = None
) -> str:
    """A call's arguments as JSON text, secrets hidden by key name and by shape.

    `hide` is a redactor's `value`; `parsed` what `parse_object` made of them, where that is known.
    The text stays as it is where nothing is hidden. One that is no JSON, as when it was too long
    and cut, is read as far as it goes.
    """
    if parsed is None:
        try:
            parsed = parse_value(arguments)
        except ArgumentsError:
            return _text(hide, _in_odd(arguments, hide))
    hidden = hide(parsed)
    return _text(hide, arguments if hidden == parsed else _as_json(hidden))


def _in_odd(arguments: str, hide: Callable[[JsonValue], JsonValue]) -> str:
    """The same for what no tool would take: written anew, since a key may stand in it twice."""
    try:
        return _as_json(hide(json.loads(arguments)))
    except (ValueError, RecursionError):
        return hide_in_broken(arguments, hide)


def _text(hide: Callable[[JsonValue], JsonValue], text: str) -> str:
    """Keys may hold secrets too."""
    hidden = hide(text)
    return hidden if isinstance(hidden, str) else _as_json(hidden)


@lru_cache(maxsize=4_096)
def _name(key: str, words: tuple[str, ...]) -> Name:
    plain = key.lower().replace("-", "_")
    parted = _HUMP.sub("_", key).lower().replace("-", "_")
    if not any(word in plain or word in parted for word in words):
        return "open"
    return "count" if COUNT_KEYS.search(plain) or COUNT_KEYS.search(parted) else "secret"


@lru_cache(256)
def _expression(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for `patterns`: without those that cannot match it finds the same."""
    return re.compile("|".join(f"(?:{pattern})" for pattern in _flagless(patterns)))


def _stand_in(match: re.Match[str]) -> str:
    kept = (match[KEPT] if KEPT in match.re.groupindex else None) or ""
    return f"{kept}[redacted {len(match.group()) - len(kept)}]"


def _flagless(patterns: Iterable[str]) -> list[str]:
    """Turn a leading `(?i)` into a scoped group: Python refuses global flags elsewhere."""
    return [f"(?i:{p[4:]})" if p.startswith("(?i)") else p for p in patterns]
