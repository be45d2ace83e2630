"""Check an answer against the agent's output schema."""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import JsonValue

from executus.json_schema import MAX_WHY, value_problem
from executus.sanitize import clean_json, clean_line

FENCE = re.compile(r"^\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)
"""Models wrap JSON in a code fence even when told not to."""


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
    problem = value_problem(value, schema)
    return Checked(value, None) if problem is None else Checked(None, problem)
