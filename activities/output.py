"""Check an answer against the agent's output schema."""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError as JsonSchemaError
from pydantic import JsonValue

from executus.sanitize import clean_json, clean_line

FENCE = re.compile(r"^\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)
"""Models wrap JSON in a code fence even when told not to."""
MAX_WHY = 500
"""Characters of the reason that goes back to the model."""


class Checked(NamedTuple):
    """What became of the check."""

    value: JsonValue
    """The value, when it is valid."""
    invalid: str | None
    """Why it is not."""


def check_output(text: str, schema: Mapping[str, JsonValue]) -> Checked:
    """Parse `text` as JSON, fence or not, and validate it."""
    fenced = FENCE.match(text)
    try:
        value = clean_json(json.loads(fenced.group(1) if fenced else text))
    except (ValueError, RecursionError) as error:
        return Checked(None, clean_line(f"not JSON: {error}", MAX_WHY))
    validator = Draft202012Validator(dict(schema))
    first = next(iter(validator.iter_errors(value)), None)  # pyright: ignore[reportUnknownMemberType]
    if first is None:
        return Checked(value, None)
    return Checked(None, clean_line(f"{first.json_path}: {first.message}", MAX_WHY))


def schema_problem(schema: Mapping[str, JsonValue]) -> str | None:
    """Why `schema` is no JSON schema, if it is none."""
    try:
        Draft202012Validator.check_schema(dict(schema))
    except JsonSchemaError as error:
        return clean_line(f"{error.json_path}: {error.message}", MAX_WHY)
    return None
