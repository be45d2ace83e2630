"""Check values against a JSON schema (draft 2020-12), without ever fetching one.

By default jsonschema fetches a remote `$ref` over HTTP: a request forged by whoever wrote the
schema (https://python-jsonschema.readthedocs.io/en/stable/referencing/). An empty registry refuses.
It is imported at the first check, which keeps everything else light; workers and replayers load it
before their first workflow task.
"""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from executus.sanitize import clean_line

MAX_WHY = 500
"""Characters of a reason."""
ENDLESS = "the schema refers to itself without end, or is nested too deeply"
VALUES = frozenset({"enum", "const", "default", "examples"})
"""Keywords that hold values, not schemas."""


def load() -> None:
    """Import now what a check needs: a tenth of a second, of a busy machine's several.

    In a workflow task that would be taken for a deadlock: Temporal lets one compute for 2 s.
    """
    use_problem({})


def schema_problem(schema: Mapping[str, JsonValue]) -> str | None:
    """Why `schema` is no JSON schema, if it is none."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - see above
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415

    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as error:
        return clean_line(f"{error.json_path}: {error.message}", MAX_WHY)
    except RecursionError:
        return ENDLESS
    return None


def use_problem(schema: Mapping[str, JsonValue]) -> str | None:
    """Why nothing can be checked against `schema`, if nothing can.

    Besides `schema_problem`: it refers to what is not in it, or to itself without end.
    """
    problem = schema_problem(schema)
    if problem is not None:
        return problem
    try:
        lost = next(_lost(dict(schema), dict(schema), "$"), None)
    except RecursionError:
        return ENDLESS
    if lost is not None:
        return clean_line(f"{lost} is not in the schema, and nothing is fetched", MAX_WHY)
    told = value_problem({}, schema)  # what it says does not matter, but that it can say something
    return told if told == ENDLESS else None


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
    except RecursionError:
        return ENDLESS
    if first is None:
        return None
    return clean_line(f"{first.json_path}: {first.message}", MAX_WHY)


def _lost(node: JsonValue, root: dict[str, JsonValue], path: str) -> Iterator[str]:
    """References below `path` to what is not there, in order."""
    if isinstance(node, list):
        for i, item in enumerate(node):
            yield from _lost(item, root, f"{path}[{i}]")
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        at = f"{path}.{key}"
        if key in ("$ref", "$dynamicRef") and isinstance(value, str) and not _found(value, root):
            yield f"{at}: {value!r}"
        if key not in VALUES:
            yield from _lost(value, root, at)


def _found(reference: str, root: dict[str, JsonValue]) -> bool:
    from referencing import Registry, Resource  # noqa: PLC0415 - see above
    from referencing.exceptions import Unresolvable  # noqa: PLC0415
    from referencing.jsonschema import DRAFT202012  # noqa: PLC0415

    resource = Resource.from_contents(root, default_specification=DRAFT202012)
    try:
        registry: Registry[JsonValue] = Registry()
        registry.with_resource("", resource).resolver().lookup(reference)
    except Unresolvable:
        return False
    return True
