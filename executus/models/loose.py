"""Typed reading of JSON that others wrote: a wrong type reads as nothing, and never raises."""

from typing import TypeGuard

MAX_COUNT = 1_000_000_000
"""Tokens of one call: no model reads so many, and sums of more would fit no store."""


def is_object(value: object) -> TypeGuard[dict[str, object]]:
    """Whether `value` is a JSON object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[object]]:
    """Whether `value` is a JSON array."""
    return isinstance(value, list)


def obj(value: object) -> dict[str, object]:
    """`value` as an object; an empty one when it is something else."""
    return value if is_object(value) else {}


def items(value: object) -> list[dict[str, object]]:
    """The objects of a list; an empty list when `value` is something else."""
    return [v for v in value if is_object(v)] if is_list(value) else []


def text(value: object) -> str:
    """`value` if it is a string, else empty."""
    return value if isinstance(value, str) else ""


def count(value: object) -> int:
    """`value` if it is a number of things that there can be, else 0."""
    return value if isinstance(value, int) and 0 < value <= MAX_COUNT else 0
