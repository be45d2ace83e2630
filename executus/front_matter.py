"""Front matter: fields at the head of a Markdown file, YAML between `---` or TOML between `+++`.

The YAML is read by executus/yaml_text.py, which is imported for the first of it: a worker without
agent files and skill packs starts faster without.
"""

import json
import re
import tomllib
from typing import NamedTuple

FRONT = re.compile(
    r"\A\ufeff?(?P<fence>---|\+\+\+)[ \t]*\r?\n"
    r"(?P<head>.*?)^(?P=fence)[ \t]*(?:\r?\n|\Z)(?P<body>.*)\Z",
    re.DOTALL | re.MULTILINE,
)
OPENED = re.compile(r"\A\ufeff?(?:---|\+\+\+)[ \t]*\r?\n")


class Document(NamedTuple):
    """A Markdown file in its two parts."""

    fields: dict[str, object]
    """The front matter."""
    body: str
    """The text below it, without blank lines around it."""


def split_document(text: str) -> Document:
    """Front matter and body of `text`.

    Raises:
        ValueError: there is no front matter, it is not closed, or does not parse; one line.
    """
    found = FRONT.match(text)
    if found is None:
        if OPENED.match(text):
            raise ValueError("the front matter is never closed: repeat its first line below it")
        raise ValueError("no front matter: begin the file with `---`, YAML fields and `---`")
    # One line for the fence, so that the line numbers of messages are those of the file.
    head = "\n" + found["head"]
    fields = parse_yaml(head) if found["fence"] == "---" else parse_toml(head)
    return Document(fields, found["body"].strip())


def parse_json(text: str) -> dict[str, object]:
    """A JSON object.

    Raises:
        ValueError: it does not parse, or is no object.
    """
    value: object = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not an object of field names and values")  # noqa: TRY004 - as the others do
    return value  # pyright: ignore[reportUnknownVariableType]


def parse_yaml(text: str) -> dict[str, object]:
    """A YAML mapping.

    Raises:
        ValueError: it does not parse, or is no mapping of names.
    """
    from executus import yaml_text  # noqa: PLC0415 - see above

    return yaml_text.parse_yaml(text)


def parse_toml(text: str) -> dict[str, object]:
    """A TOML document.

    Raises:
        ValueError: it does not parse.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
