"""YAML as people mean it, and as strangers may not abuse it.

`no` and a date are texts (as in YAML 1.2), a key that stands twice is an error, and there are no
anchors, which grow a small file into an endless one.
"""

import re
from collections.abc import Hashable, Mapping
from typing import cast

import yaml

MAX_YAML = 100_000
"""Characters; the parser takes a second for a million."""
TAG = "tag:yaml.org,2002:"
KNOWN_TAGS = tuple(TAG + name for name in ("str", "bool", "null", "int", "float", "seq", "map"))
SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", ("~", "n", "N", "")),
    "int": (r"[-+]?(?:0|[1-9][0-9]{0,17})", "-+0123456789"),
    "float": (
        r"[-+]?(?:[0-9]+\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)",
        "-+0123456789",
    ),
}
"""Unquoted scalars that are no texts: tag, pattern, first characters."""


def parse_yaml(text: str) -> dict[str, object]:
    """A YAML mapping.

    Raises:
        ValueError: it does not parse, or is no mapping of names.
    """
    if len(text) > MAX_YAML:
        raise ValueError(f"{len(text):,} characters of YAML; the limit is {MAX_YAML:,}")
    try:
        value: object = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        where = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise ValueError(f"{where}{error.problem or error.context or 'not YAML'}") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error).partition("\n")[0]) from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):  # pyright: ignore[reportUnknownVariableType]
        raise ValueError("not a mapping of field names to values")
    return value  # pyright: ignore[reportUnknownVariableType]


def dump_yaml(fields: Mapping[str, object]) -> str:
    """Plain values as a YAML mapping that this module reads, and any other reader, as they are."""
    text: str = yaml.dump(  # pyright: ignore[reportUnknownMemberType] - some stubs leave it open
        dict(fields), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return text


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """`SCALARS` as the loader wants them: by first character."""
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for name, (pattern, firsts) in SCALARS.items():
        for first in firsts:
            found.setdefault(first, []).append((TAG + name, re.compile(f"^(?:{pattern})$")))
    return found


class _Loader(yaml.SafeLoader):
    """Safe, with the scalars of YAML 1.2's JSON schema, no tags and no anchors: see the module."""

    yaml_implicit_resolvers = _resolvers()
    yaml_constructors = {  # noqa: RUF012 - as the base has it
        tag: yaml.SafeLoader.yaml_constructors[tag] for tag in (*KNOWN_TAGS, None)
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """See base class; an alias is an error."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call] # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            mark = cast("yaml.Mark", event.start_mark)  # pyright: ignore[reportUnknownMemberType]
            raise yaml.MarkedYAMLError(None, None, "anchors and aliases are not read", mark)
        return super().compose_node(parent, index)

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        """See base class; a key that stands twice is an error."""
        seen = set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"`{key.value}` stands twice"
                    raise yaml.MarkedYAMLError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would take for something else than a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base has it
        first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *ours]
        for first, ours in (yaml.SafeDumper.yaml_implicit_resolvers | _resolvers()).items()
    }

    def ignore_aliases(self, data: object) -> bool:
        """See base class; never an anchor."""
        return True
