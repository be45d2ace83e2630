"""From a function's signature to the JSON schema of its arguments, and back from JSON text.

Fields of the pydantic model are called `arg0`, `arg1`, ... and carry the parameter's name as alias,
so that a parameter may have any name: `schema`, `copy` or `model_config` would shadow pydantic's.
"""

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from executus.errors import ConfigError
from executus.jsontext import ArgumentsError, parse_object
from executus.redact import Redactor
from executus.sanitize import clean_json
from executus.tools.context import ToolContext
from executus.tools.problems import problems

UNSUPPORTED = {
    inspect.Parameter.VAR_POSITIONAL: "*args has no JSON schema",
    inspect.Parameter.VAR_KEYWORD: "**kwargs has no JSON schema",
    inspect.Parameter.POSITIONAL_ONLY: "it must not be positional-only",
}
UNTITLED = frozenset({"properties", "$defs", "patternProperties"})
"""Schema keywords whose keys are names, so that a key `title` there is a name too."""
VERBATIM = frozenset({"default", "const", "enum", "examples"})
"""Schema keywords that hold values."""


class _Quiet(GenerateJsonSchema):
    """A default that JSON cannot hold is left out of the schema without a warning."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as in the base


class Takes(Protocol):
    """What a tool takes: a function's typed arguments, or what another source of tools says."""

    @property
    def context(self) -> tuple[str, ...]:
        """Parameters that take the ToolContext."""
        ...

    @property
    def schema(self) -> dict[str, JsonValue]:
        """JSON schema for the model."""
        ...

    def parse(self, text: str, *, secret: bool, redactor: Redactor) -> dict[str, Any]:
        """Parameter -> value, from the model's text.

        Raises:
            ArgumentsError: one line with what is wrong.
        """
        ...


@dataclass(frozen=True, slots=True)
class Arguments:
    """The typed arguments of one function."""

    model: type[BaseModel]
    """Validates them."""
    fields: Mapping[str, str]
    """Field of the model -> parameter."""
    context: tuple[str, ...]
    """Parameters that take the ToolContext."""
    schema: dict[str, JsonValue]
    """JSON schema, without the titles that pydantic makes up."""

    def parse(self, text: str, *, secret: bool, redactor: Redactor) -> dict[str, Any]:
        """Parameter -> value, validated, from the model's text.

        Raises:
            ArgumentsError: one line, at most about 1 KB, with every field and its problem.
        """
        parse_object(text)
        try:
            # From the text and not from the parsed object: JSON mode reads dates, enums and tuples.
            value = self.model.model_validate_json(text if text.strip() else "{}")
        except ValidationError as exc:
            known = tuple(self.fields.values())
            message = problems(exc, known=known, secret=secret, redactor=redactor)
            raise ArgumentsError(message) from None
        return {name: getattr(value, field) for field, name in self.fields.items()}


def arguments_of(function: Callable[..., object], owner: str, docs: Mapping[str, str]) -> Arguments:
    """Read the signature of `function`; `owner` names it in errors, `docs` describes parameters.

    Raises:
        ConfigError: for a signature or a type that has no JSON schema; names the parameter.
    """
    context: list[str] = []
    taken: dict[str, tuple[Any, Any]] = {}
    for parameter in inspect.signature(function).parameters.values():
        annotation = _annotation(function, parameter, owner)
        if _is_context(annotation):
            context.append(parameter.name)
        else:
            taken[parameter.name] = (annotation, parameter.default)
    fields = {f"arg{i}": name for i, name in enumerate(taken)}
    try:
        model = _model(owner, {field: taken[name] for field, name in fields.items()}, fields, docs)
        raw = model.model_json_schema(schema_generator=_Quiet)
    except Exception as exc:  # noqa: BLE001 - a type's own hooks: whatever they raise
        raise _culprit(taken, owner, exc) from None
    schema = clean_json(_untitled(raw))
    assert isinstance(schema, dict)  # noqa: S101 - a model's schema is an object; for type checkers
    schema.setdefault("properties", {})
    return Arguments(model, fields, tuple(context), schema)


def _annotation(function: Callable[..., object], parameter: inspect.Parameter, owner: str) -> Any:  # noqa: ANN401 - an annotation is anything
    name = parameter.name
    if parameter.kind in UNSUPPORTED:
        raise ConfigError(f"tool {owner}: parameter {name!r}: {UNSUPPORTED[parameter.kind]}")
    if parameter.annotation is inspect.Parameter.empty:
        raise ConfigError(f"tool {owner}: parameter {name!r} has no type: annotate it")
    target = inspect.unwrap(function)
    scope: dict[str, Any] = getattr(target, "__globals__", {})
    holder = SimpleNamespace(__annotations__={name: parameter.annotation})
    try:
        return typing.get_type_hints(holder, globalns=scope, include_extras=True)[name]
    except Exception as exc:  # noqa: BLE001 - an annotation is code: whatever it raises
        msg = (
            f"tool {owner}: parameter {name!r}: cannot resolve the annotation"
            f" {parameter.annotation!r} ({exc}): define the type at module level"
        )
        raise ConfigError(msg) from None


def _is_context(annotation: Any) -> bool:  # noqa: ANN401 - an annotation is anything
    """Whether it is ToolContext, `Annotated[ToolContext, ...]` or `ToolContext | None`."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _is_context(typing.get_args(annotation)[0])
    if origin in (typing.Union, UnionType):
        return all(a is ToolContext or a is NoneType for a in typing.get_args(annotation))
    return annotation is ToolContext


def _model(
    owner: str,
    types: Mapping[str, tuple[Any, Any]],
    names: Mapping[str, str],
    docs: Mapping[str, str],
) -> type[BaseModel]:
    from pydantic import create_model  # noqa: PLC0415 - its overloads are not typed for a mapping

    fields: dict[str, Any] = {
        field: _field(names[field], annotation, default, docs.get(names[field]))
        for field, (annotation, default) in types.items()
    }
    config = ConfigDict(extra="forbid")
    model: type[BaseModel] = create_model(owner, __config__=config, **fields)
    return model


def _field(name: str, annotation: Any, default: Any, doc: str | None) -> Any:  # noqa: ANN401 - see _model
    """A field definition. The author's own `Field(description=...)` wins over the docstring."""
    value = ... if default is inspect.Parameter.empty else default
    own = FieldInfo.from_annotated_attribute(annotation, value).description
    extra = Field(alias=name, validation_alias=name, description=own or doc)
    return (typing.Annotated[annotation, extra], value)


def _culprit(taken: Mapping[str, tuple[Any, Any]], owner: str, exc: Exception) -> ConfigError:
    """Name the parameter whose type has no JSON schema."""
    for name, (annotation, _) in taken.items():
        try:
            TypeAdapter[Any](annotation).json_schema()
        except Exception as found:  # noqa: BLE001 - whatever it is, this is the one
            return ConfigError(f"tool {owner}: parameter {name!r}: {_first_line(found)}")
    return ConfigError(f"tool {owner}: {_first_line(exc)}")


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0].rstrip(".") + ": it has no JSON schema"


def _untitled(schema: Any, *, names: bool = False) -> Any:  # noqa: ANN401 - JSON
    """The schema without titles: pydantic makes them from names, and they cost tokens per call."""
    if isinstance(schema, list):
        items: list[Any] = schema  # pyright: ignore[reportUnknownVariableType]
        return [_untitled(item) for item in items]
    if not isinstance(schema, dict):
        return schema
    entries: dict[str, Any] = schema  # pyright: ignore[reportUnknownVariableType]
    return {
        key: value
        if key in VERBATIM and not names
        else _untitled(value, names=key in UNTITLED and not names)
        for key, value in entries.items()
        if names or key != "title"
    }
