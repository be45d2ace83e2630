"""Templates of phase prompts: `{{Query}}` and `{{<Phase>}}`, and nothing else.

`{{.Query}}` means the same. `{{{{` stands for two braces. Whatever else stands between braces is an
error: a template that would be sent raw tells a model nonsense, and nobody notices.
"""

import re
from collections.abc import Callable, Mapping

QUERY = "Query"
"""The name of what the run was asked."""
NAME = r"[A-Za-z_][A-Za-z0-9_]*"
"""What a phase may be called."""

_BRACES = re.compile(r"\{\{\{\{|\{\{((?:(?!\{\{|\}\}).)*)(\}\})?", re.DOTALL)
_PLACEHOLDER = re.compile(rf"\s*\.?({NAME})\s*")
_SHOWN = 40


class TemplateError(ValueError):
    """A template that cannot be filled; the message is one line."""


def names(template: str) -> tuple[str, ...]:
    """The names it asks for, in order, repeats included.

    Raises:
        TemplateError: there is something between braces that is no name, or a brace is missing.
    """
    found: list[str] = []

    def note(name: str) -> str:
        found.append(name)
        return ""

    _replace(template, note)
    return tuple(found)


def fill(template: str, values: Mapping[str, str]) -> str:
    """The text with every name replaced by its value. Values are taken as they are.

    Raises:
        TemplateError: as `names` does, and for a name without a value.
    """

    def value(name: str) -> str:
        if name not in values:
            raise TemplateError(unknown(name, values))
        return values[name]

    return _replace(template, value)


def unknown(name: str, known: Mapping[str, object]) -> str:
    """What is wrong with a name that has no value."""
    return f"`{{{{{name}}}}}` is not known here; known: {', '.join(known)}"


def _replace(template: str, value: Callable[[str], str]) -> str:
    def put(match: re.Match[str]) -> str:
        inner, closed = match.groups()
        if inner is None:
            return "{{"
        name = _PLACEHOLDER.fullmatch(inner) if closed else None
        if name is None:
            shown = match.group()[:_SHOWN]
            msg = (
                f"{shown!r} at character {match.start() + 1} is no placeholder: write "
                "{{Query}} or {{<an earlier phase>}}, or {{{{ for two braces"
            )
            raise TemplateError(msg)
        return value(name.group(1))

    return _BRACES.sub(put, template)
