"""What every value that crosses a boundary has in common."""

import copy
import pickle

import pytest
from pydantic import Field, ValidationError

from executus.agent import RunnableAgent
from executus.data import Data, Record


class Base(Data):
    first: int = 0
    """The base's own.

    In two paragraphs.
    """
    second: int = 0
    """What the base says."""


class Derived(Base):
    second: int = 1
    """What the derived class says."""
    third: int = Field(default=0, description="What the field says.")
    """What is below it."""
    fourth: int = 0


def test_the_docstring_below_a_field_is_its_description_in_the_json_schema() -> None:
    described = {
        name: field.get("description")
        for name, field in Derived.model_json_schema()["properties"].items()
    }
    assert described == {
        "first": "The base's own.\n\nIn two paragraphs.",
        "second": "What the derived class says.",
        "third": "What the field says.",
        "fourth": None,
    }


def test_every_field_of_an_agent_is_described_nested_ones_too() -> None:
    schema = RunnableAgent.model_json_schema()
    fields = {**schema["properties"], **schema["$defs"]["Limits"]["properties"]}
    assert [name for name, field in fields.items() if not field.get("description")] == []


def test_a_class_without_source_has_a_schema_without_descriptions() -> None:
    space: dict[str, type[Data]] = {}
    exec("class Made(Base):\n    fifth: int = 0\n    '''Unseen.'''", {"Base": Base}, space)  # noqa: S102
    properties = space["Made"].model_json_schema()["properties"]
    assert "description" not in properties["fifth"]
    assert properties["second"]["description"] == "What the base says."


class Inner(Record):
    number: int = 0


class Outer(Record):
    name: str
    inner: Inner = Inner()
    more: tuple[Inner, ...] = ()


def made() -> list[Outer]:
    first = Outer(name="a", more=(Inner(number=1),))
    return [
        first,
        Outer.model_validate_json(first.model_dump_json()),
        first.model_copy(),
        first.model_copy(update={"name": "a"}),
        first.model_copy(deep=True),
        copy.copy(first),
        pickle.loads(pickle.dumps(first)),  # noqa: S301 - its own
    ]


def test_records_of_a_class_share_one_set_of_names_however_they_came_to_be() -> None:
    *records, read_back = made()
    assert len({id(record.model_fields_set) for record in records}) <= 2
    assert records[0].model_fields_set is records[1].model_fields_set
    assert records[0].model_fields_set is records[3].model_fields_set
    assert records[0].inner.model_fields_set is records[1].more[0].model_fields_set
    assert {frozenset(r.model_fields_set) for r in [*records, read_back]} == {
        frozenset({"name", "inner", "more"})
    }


def test_records_are_equal_and_read_back_whatever_was_given() -> None:
    assert all(record == made()[0] for record in made())
    assert Inner() == Inner(number=0)
    assert Outer(name="a").model_dump() == {"name": "a", "inner": {"number": 0}, "more": ()}
    changed = made()[0].model_copy(update={"name": "b"})
    assert (changed.name, made()[0].name) == ("b", "a")


def test_records_are_as_strict_as_all_data() -> None:
    with pytest.raises(ValidationError):
        Inner.model_validate({"numbr": 1})
    with pytest.raises(ValidationError):
        Inner().number = 1  # type: ignore[misc]
