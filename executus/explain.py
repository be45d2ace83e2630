"""A validation error as one line: the fields, what is wrong with them, and the known ones."""

from pydantic import BaseModel, ValidationError

from executus.sanitize import clean_line

MAX_SHOWN = 200
"""Characters of one problem."""

LIST = "Input should be a list"
TABLE = "Input should be a table of named values"
PLAIN = {
    "tuple_type": LIST,
    "list_type": LIST,
    "set_type": LIST,
    "frozen_set_type": LIST,
    "dict_type": TABLE,
    "mapping_type": TABLE,
    "model_type": TABLE,
    "model_attributes_type": TABLE,
}
"""What pydantic says with the names of Python's types, which a file does not have."""


def explain(error: ValidationError, model: type[BaseModel], *more: str) -> str:
    """A validation error as one line: every field with what is wrong with it.

    `more`: fields that are known besides the model's own.
    """
    parts: list[str] = []
    unknown = False
    for item in error.errors(include_url=False):
        name = clean_line(".".join(str(part) for part in item["loc"]), MAX_SHOWN)
        extra = item["type"] == "extra_forbidden"
        unknown = unknown or (extra and len(item["loc"]) == 1)
        plain = PLAIN.get(item["type"], item["msg"])
        what = "unknown field" if extra else clean_line(plain, MAX_SHOWN)
        parts.append(f"`{name}`: {what}" if name else what)
    if unknown:
        parts.append(f"known fields: {', '.join(sorted([*model.model_fields, *more]))}")
    return "; ".join(parts)
