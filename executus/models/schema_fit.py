"""What providers make of a JSON schema: OpenAI's strict mode, and what Anthropic's API can hold.

https://developers.openai.com/api/docs/guides/structured-outputs
https://platform.claude.com/docs/en/build-with-claude/structured-outputs
"""

from collections.abc import Iterator, Mapping, Sequence

from executus.models.loose import is_list, is_object, items, obj, text

NOT_STRICT = frozenset(
    {
        "allOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "patternProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
        "unevaluatedProperties",
        "prefixItems",
        "unevaluatedItems",
        "contains",
        "minContains",
        "maxContains",
        "uniqueItems",
        "minLength",
        "maxLength",
        "default",
    }
)
"""Keywords that OpenAI's strict mode refuses."""
STRICT_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
"""Formats of strings that it knows; it refuses others."""
VALUES = frozenset({"enum", "const", "default", "examples"})
"""Keywords that hold values, not schemas."""
LOST = frozenset({"patternProperties", "prefixItems", "dependentSchemas", "if", "not"})
"""Keywords that Anthropic's subset leaves out, and that decide what an answer looks like."""


def strict_ready(schema: Mapping[str, object]) -> bool:
    """Whether OpenAI's strict mode takes this schema: closed objects with every key required."""
    return schema.get("type") == "object" and _strict(schema)


def _strict(schema: Mapping[str, object]) -> bool:
    if not _closed(schema) or set(schema) & NOT_STRICT:
        return False
    if "$ref" in schema and schema.keys() - {"$ref", "$defs"}:
        return False
    if "format" in schema and schema["format"] not in STRICT_FORMATS:
        return False
    children: list[object] = []
    for key in ("properties", "$defs", "definitions"):
        children += obj(schema.get(key)).values()
    children += items(schema.get("anyOf"))
    if "items" in schema:
        children.append(schema["items"])
    return all(is_object(child) and _strict(child) for child in children)


def _closed(schema: Mapping[str, object]) -> bool:
    kind = schema.get("type")
    if kind is None and not set(schema) & {"$ref", "anyOf", "enum", "const"}:
        return False
    if kind != "object":
        return "properties" not in schema
    required = schema.get("required")
    names: Sequence[object] = required if is_list(required) else ()
    return schema.get("additionalProperties") is False and set(names) == set(
        obj(schema.get("properties"))
    )


def holdable(schema: Mapping[str, object]) -> bool:
    """Whether Anthropic's subset keeps what answers of this schema may look like.

    It closes every object, so one of free keys could only come back empty, and it knows no
    recursion. What it merely does not enforce (bounds, patterns) is checked afterwards.
    """
    return not any(_loses(part) for part in _parts(schema)) and not _recursive(schema)


def _loses(part: Mapping[str, object]) -> bool:
    if part.keys() & LOST:
        return True
    free = part.get("additionalProperties", False) is not False
    return part.get("type") == "object" and (free or not part.get("properties"))


def _parts(node: object) -> Iterator[dict[str, object]]:
    """A schema and all schemas in it."""
    if is_list(node):
        for item in node:
            yield from _parts(item)
    if not is_object(node):
        return
    yield node
    for key, value in node.items():
        if key in ("properties", "$defs", "definitions"):
            for child in obj(value).values():
                yield from _parts(child)
        elif key not in VALUES:
            yield from _parts(value)


def _recursive(schema: Mapping[str, object]) -> bool:
    """Whether a definition refers to itself, directly or not."""
    uses = {
        "#": _references({k: v for k, v in schema.items() if k not in ("$defs", "definitions")})
    }
    for key in ("$defs", "definitions"):
        for name, part in obj(schema.get(key)).items():
            uses[f"#/{key}/{name}"] = _references(part)
    while uses:  # take away what refers to nothing that is left; a circle stays
        done = [name for name, of in uses.items() if not of & uses.keys()]
        if not done:
            return True
        for name in done:
            del uses[name]
    return False


def _references(node: object) -> set[str]:
    return {text(part.get("$ref")) for part in _parts(node)}
