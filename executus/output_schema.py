"""The schema of a structured result: from a Python type, and the value in an answer's text."""

import re
from typing import Any, TypeGuard

from pydantic import JsonValue, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError

from executus.errors import ConfigError
from executus.jsontext import parse_value
from executus.sanitize import clean_json

Schema = dict[str, JsonValue]

MAX_STRUCTURED = 262_144
"""Bytes of a structured result as JSON text: it goes whole into the run's result."""
FENCE = re.compile(r"^\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)
"""Models wrap JSON in a code fence even when told not to."""
NOISE = frozenset({"default", "title", "examples", "discriminator"})
"""Keywords that pydantic writes and no model needs; a default would make a field optional."""
NAMES = frozenset({"properties", "patternProperties", "$defs"})
"""Keywords whose keys are names of the user's."""
VERBATIM = frozenset({"enum", "const"})
"""Keywords that hold values."""


def schema_of(kind: Any) -> Schema:  # noqa: ANN401 - any type that pydantic knows
    """JSON schema of a pydantic model, a dataclass or any other type, as models fill it best.

    Every field is required and no other is allowed: a model that may leave a field out does. What
    may be missing is said by a type that takes None.

    Raises:
        ConfigError: pydantic makes no schema of it.
    """
    try:
        schema = TypeAdapter(kind).json_schema()
    except (PydanticUserError, PydanticSchemaGenerationError) as error:
        first = str(error).partition("\n")[0]
        raise ConfigError(f"output_schema: no JSON schema of {kind!r}: {first}") from None
    closed = _closed(schema)
    assert is_object(closed)  # noqa: S101 - a closed object is an object; for type checkers
    return _rooted(closed)


def lowered(value: Any) -> Any:  # noqa: ANN401 - raw input of a validator
    """A Python type as its schema; a schema, None, and what is neither, as they are."""
    if value is None or isinstance(value, dict | str | int | float | list | tuple):
        return value  # pyright: ignore[reportUnknownVariableType]
    return schema_of(value)


def is_object(value: object) -> TypeGuard[Schema]:
    """Whether a JSON value is an object."""
    return isinstance(value, dict)


def fills_object(schema: Schema) -> bool:
    """Whether what matches is an object at the root, the only thing that providers take there."""
    return schema.get("type") == "object"


def answer_value(text: str) -> JsonValue:
    """The JSON value in an answer's text, fence or not. Deterministic: workflow code calls it too.

    Raises:
        ArgumentsError: there is none.
    """
    fenced = FENCE.match(text)
    return clean_json(parse_value(fenced.group(1) if fenced else text))


def _closed(schema: JsonValue) -> JsonValue:
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not is_object(schema):
        return schema
    made: Schema = {}
    for key, value in schema.items():
        if key in NAMES and is_object(value):
            made[key] = {name: _closed(item) for name, item in value.items()}
        elif key not in NOISE:
            # Of a union by tag one fits at most anyway, and strict modes know `anyOf` alone.
            name = "anyOf" if key == "oneOf" else key
            made[name] = value if key in VERBATIM else _closed(value)
    if "$ref" in made and made.keys() - {"$ref", "$defs"}:  # strict modes take it alone
        made["anyOf"] = [{"$ref": made.pop("$ref")}]
    properties = made.get("properties")
    if is_object(properties):
        made["required"] = list(properties)
        made.setdefault("additionalProperties", False)
    return made


def _rooted(schema: Schema) -> Schema:
    """With the schema itself at the root, where a recursive type has a reference to it."""
    head, _, name = str(schema.get("$ref", "")).rpartition("/")
    found = schema.get("$defs")
    target = found.get(name) if is_object(found) and head == "#/$defs" else None
    return {**target, "$defs": found} if is_object(target) else schema
