"""`extends`: an agent says only what differs from another one."""

from collections.abc import Mapping
from types import UnionType
from typing import Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from executus.agent import RunnableAgent
from executus.agents.declared import EXTENDS, Declared
from executus.errors import ConfigError
from executus.explain import explain

MAX_DEPTH = 8
"""Agents in one chain, the extending one included."""
OWN = frozenset({"name", "id"})
"""Never inherited: budgets and audits tell agents apart by them."""


def effective(chain: tuple[Declared, ...]) -> RunnableAgent:
    """The agent at the head of `chain`, with what it inherits.

    Raises:
        ConfigError: a field is wrong; names the file, the field and the known set.
    """
    fields: dict[str, object] = {}
    for declared in reversed(chain):
        fields = overlay(fields, declared.fields)
    try:
        return RunnableAgent.model_validate(fields)
    except ValidationError as error:
        msg = f"{chain[0].source}: {explain(error, RunnableAgent, EXTENDS)}"
        raise ConfigError(msg) from None


def chain_of(
    declared: Declared, known: Mapping[str, Declared], broken: Mapping[str, str]
) -> tuple[Declared, ...]:
    """The agent, what it extends, what that extends, and so on.

    `broken`: problems of files that could not be read, by the name they would have.

    Raises:
        ConfigError: a name that nobody has, a circle, or a chain that is too long; shows it.
    """
    chain = [declared]
    while (parent := chain[-1].extends) is not None:
        names = [item.name for item in chain]
        shown = " extends ".join(f"`{name}`" for name in (*names, parent))
        if parent in names:
            raise ConfigError(f"{declared.source}: `extends` goes in a circle: {shown}")
        if parent not in known and parent in broken:
            raise ConfigError(f"{declared.source}: {shown}: {broken[parent]}")
        if parent not in known:
            have = ", ".join(sorted(known.keys() - set(names))) or "none"
            raise ConfigError(f"{declared.source}: {shown}, which is unknown; known agents: {have}")
        if len(chain) == MAX_DEPTH:
            msg = f"{declared.source}: more than {MAX_DEPTH} agents in a chain: {shown}"
            raise ConfigError(msg)
        chain.append(known[parent])
    return tuple(chain)


def overlay(base: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """`own` over `base`: what is absent or None is inherited, what is written holds.

    So an empty list clears. Tables of named settings (`limits`) are merged by key; free-form ones
    (`output_schema`) are one value. Name and id are never inherited.
    """
    merged = {key: value for key, value in base.items() if key not in OWN}
    for key, value in own.items():
        if value is None:
            continue
        below = merged.get(key)
        if key in TABLES and isinstance(value, Mapping) and isinstance(below, Mapping):
            said = {k: v for k, v in value.items() if v is not None}  # pyright: ignore[reportUnknownVariableType]
            merged[key] = {**below, **said}
        else:
            merged[key] = value
    return merged


def _is_table(annotation: object) -> bool:
    """Whether a field's type is a model of its own, or that or None."""
    if get_origin(annotation) in {Union, UnionType}:
        return any(_is_table(part) for part in get_args(annotation))
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


TABLES = frozenset(
    name for name, field in RunnableAgent.model_fields.items() if _is_table(field.annotation)
)
"""Fields whose value is a table of named settings."""
