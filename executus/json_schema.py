"""Check values against a JSON schema (draft 2020-12), without ever fetching one.

By default jsonschema fetches a remote `$ref` over HTTP: a request forged by whoever wrote the
schema (https://python-jsonschema.readthedocs.io/en/stable/referencing/). An empty registry refuses.
It is imported at the first check: a tenth of a second that most workers never need.
"""

from collections.abc import Mapping

from pydantic import JsonValue

from executus.sanitize import clean_line

MAX_WHY = 500
"""Characters of a reason."""


def schema_problem(schema: Mapping[str, JsonValue]) -> str | None:
    """Why `schema` is no JSON schema, if it is none."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - see above
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415

    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as error:
        return clean_line(f"{error.json_path}: {error.message}", MAX_WHY)
    return None


def value_problem(value: JsonValue, schema: Mapping[str, JsonValue]) -> str | None:
    """Why `value` does not match `schema`, if it does not."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - see above
    from referencing import Registry  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415

    validator = Draft202012Validator(dict(schema), registry=Registry())
    try:
        first = next(iter(validator.iter_errors(value)), None)  # pyright: ignore[reportUnknownMemberType]
    except Unresolvable as error:
        return clean_line(f"the schema refers to what is not in it: {error}", MAX_WHY)
    if first is None:
        return None
    return clean_line(f"{first.json_path}: {first.message}", MAX_WHY)
