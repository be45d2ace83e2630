"""The base of every value that crosses a boundary."""

from pydantic import BaseModel, ConfigDict


class Data(BaseModel):
    """Immutable, strict plain data.

    Unknown fields are refused, so a misspelt option is an error and never silently ignored. Bytes
    travel as base64 in JSON. The docstring under a field is its description in JSON schemas.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        ser_json_bytes="base64",
        val_json_bytes="base64",
        use_attribute_docstrings=True,
    )
