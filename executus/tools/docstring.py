"""What a Google-style docstring says about a function and its parameters."""

import inspect
import re
from typing import NamedTuple

SECTION = re.compile(
    r"^(Args|Arguments|Parameters|Returns?|Yields?|Raises|Examples?|Notes?|Warnings?|Attributes"
    r"|Todo|See Also|References):\s*$"
)
PARAMETER = re.compile(r"^\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*)$")
PARAMETER_SECTIONS = ("Args", "Arguments", "Parameters")


class Described(NamedTuple):
    """A docstring, taken apart."""

    summary: str
    """Everything above the first section."""
    parameters: dict[str, str]
    """Parameter -> its description, on one line."""


def describe(docstring: str | None) -> Described:
    """Take `docstring` apart; a missing one gives empty parts."""
    summary: list[str] = []
    arguments: list[str] = []
    section = ""
    for line in inspect.cleandoc(docstring or "").splitlines():
        header = SECTION.match(line)
        if header:
            section = header[1]
        elif not section:
            summary.append(line)
        elif section in PARAMETER_SECTIONS:
            arguments.append(line)
    return Described("\n".join(summary).strip(), _parameters(arguments))


def _parameters(lines: list[str]) -> dict[str, str]:
    """Entries stand at the section's own indent; deeper lines go on with the entry above."""
    indent = min((_indent(line) for line in lines if line.strip()), default=0)
    parts: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        entry = PARAMETER.match(line.strip()) if _indent(line) == indent else None
        if entry:
            current = parts[entry[1]] = [entry[2]]
        elif line.strip():
            current.append(line.strip())
    return {name: " ".join(text for text in texts if text) for name, texts in parts.items()}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
