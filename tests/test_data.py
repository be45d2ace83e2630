"""What every value that crosses a boundary has in common."""

from pydantic import Field

from executus.agent import RunnableAgent
from executus.data import Data


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
