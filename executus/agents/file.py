"""Read one agent file: TOML, JSON, YAML, or Markdown whose body is the system prompt."""

import json
from collections.abc import Callable
from pathlib import Path

from executus.agents.declared import EXTENDS, Declared
from executus.errors import ConfigError
from executus.front_matter import parse_toml, parse_yaml, split_document
from executus.sanitize import clean_line

MAX_FILE_BYTES = 2_000_000
PROMPT = "system_prompt"


def is_agent_file(text: str) -> bool:
    """Whether `--agent TEXT` means a file rather than a name."""
    return text.endswith(SUFFIXES) or "/" in text


def read_agent(path: Path) -> Declared:
    """What the file says; the agent's name is the file's own where it says none.

    Raises:
        ConfigError: it is not there or does not parse; names the file, and the line where known.
    """
    fields = _parsed(path)
    for name, kind in (("name", "a name"), (EXTENDS, "the name of one agent")):
        if name in fields and not isinstance(fields[name], str):
            raise ConfigError(f"{path}: `{name}`: must be {kind}, as a text (quote it)")
    own = str(fields.setdefault("name", path.stem))
    extends = fields.pop(EXTENDS, None)
    return Declared(
        name=own, source=str(path), extends=None if extends is None else str(extends), fields=fields
    )


def _parsed(path: Path) -> dict[str, object]:
    parse = PARSERS.get(path.suffix)
    if parse is None:
        raise ConfigError(f"{path}: an agent file ends in {', '.join(SUFFIXES)}")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES:,} bytes")
        return {key: value for key, value in parse(data.decode()).items() if value is not None}
    except OSError as error:
        msg = f"{path}: {error.strerror}; an agent is a {', '.join(SUFFIXES)} file, or a known name"
        raise ConfigError(msg) from None
    except (ValueError, RecursionError) as error:  # of every format, and of UTF-8
        kind = path.suffix.removeprefix(".")
        msg = f"{path} does not parse as {kind}: {clean_line(str(error), 300)}"
        raise ConfigError(msg) from None


def _json(text: str) -> dict[str, object]:
    value: object = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not an object of field names and values")  # noqa: TRY004 - as the others do
    return value  # pyright: ignore[reportUnknownVariableType]


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


PARSERS: dict[str, Callable[[str], dict[str, object]]] = {
    ".toml": parse_toml,
    ".json": _json,
    ".yaml": parse_yaml,
    ".yml": parse_yaml,
    ".md": _markdown,
}
SUFFIXES = tuple(PARSERS)
