"""Read one agent file: TOML, JSON, YAML, or Markdown whose body is the system prompt."""

from collections.abc import Mapping
from pathlib import Path

from executus.agents.declared import EXTENDS, Declared
from executus.errors import ConfigError
from executus.fields_file import PARSERS, Parser, read_fields
from executus.front_matter import split_document

PROMPT = "system_prompt"


def is_agent_file(text: str) -> bool:
    """Whether `--agent TEXT` means a file rather than a name."""
    return text.endswith(SUFFIXES) or "/" in text


def read_agent(path: Path) -> Declared:
    """What the file says; the agent's name is the file's own where it says none.

    Raises:
        ConfigError: it is not there or does not parse; names the file, and the line where known.
    """
    fields = read_fields(path, FORMATS, hint=HINT)
    for name, kind in (("name", "a name"), (EXTENDS, "the name of one agent")):
        if name in fields and not isinstance(fields[name], str):
            raise ConfigError(f"{path}: `{name}`: must be {kind}, as a text (quote it)")
    own = str(fields.setdefault("name", path.stem))
    extends = fields.pop(EXTENDS, None)
    return Declared(
        name=own, source=str(path), extends=None if extends is None else str(extends), fields=fields
    )


def _markdown(text: str) -> dict[str, object]:
    """Front matter, with the body as the system prompt; no body says nothing of the prompt."""
    document = split_document(text)
    fields = dict(document.fields)
    if document.body:
        if PROMPT in fields:
            raise ValueError(
                f"`{PROMPT}` stands in the front matter, and there is a body: keep one"
            )
        fields[PROMPT] = document.body
    return fields


FORMATS: Mapping[str, Parser] = {**PARSERS, ".md": _markdown}
SUFFIXES = tuple(FORMATS)
HINT = f"an agent is a {', '.join(SUFFIXES)} file, or a known name"
