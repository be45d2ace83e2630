"""The base of every value that crosses a boundary."""

import ast
import inspect
import operator
import textwrap
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from typing import Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, to_json

empty: Callable[[object], bool] = operator.not_
"""For `Field(exclude_if=empty)`: mostly empty fields of every step cost no history then. In C, as
`absent` is: a step asks fourteen times."""
absent: Callable[[object], bool] = partial(operator.is_, None)
"""The same where only None is no value."""


def json_bytes(value: BaseModel | str) -> int:
    """What it takes in a payload: written as Temporal's converter does, and counted in bytes.

    Not in characters: a Chinese one has three bytes, so what looks like 900 KB may be over 2 MiB.
    """
    return len(to_json(value))


class Data(BaseModel):
    """Immutable, strict plain data.

    Unknown fields are refused, so a misspelt option is an error and never silently ignored. Bytes
    travel as base64 in JSON. The docstring under a field is its description in JSON schemas.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, ser_json_bytes="base64", val_json_bytes="base64"
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the descriptions.

        Only now: pydantic's own `use_attribute_docstrings` reads the source of every class as it is
        made, a third of what importing this package costs a worker's start.
        """
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in _field_docstrings(cls).items():
            if name in properties:
                properties[name].setdefault("description", text)
        return schema


class Record(Data):
    """Data that a run has many of: steps, messages, what calls consumed.

    pydantic gives each object a set of the fields that were given, and the smallest takes 216
    bytes, one of five names 728: half of what a finished step takes in a waiting run. Nobody asks a
    record which of its fields were given, so all of a class share one set, with all fields in it.
    """

    def model_post_init(self, context: object, /) -> None:
        """Share the set."""
        del context
        object.__setattr__(self, "__pydantic_fields_set__", _names(type(self)))

    def __copy__(self) -> Self:
        copied = super().__copy__()
        object.__setattr__(copied, "__pydantic_fields_set__", _names(type(self)))
        return copied


@cache
def _names(of: type[BaseModel]) -> set[str]:
    return set(of.model_fields)


def _field_docstrings(of: type[BaseModel]) -> dict[str, str]:
    """Field -> the docstring below it, own fields over inherited ones."""
    owners = [owner for owner in reversed(of.__mro__) if issubclass(owner, Data)]
    return {name: text for owner in owners for name, text in _docstrings(owner)}


def _docstrings(owner: type) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    except (OSError, TypeError, SyntaxError):  # no source: made at run time, or a frozen program
        return
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    for field, below in pairwise(body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        match below:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield field.target.id, inspect.cleandoc(text)
            case _:
                pass
