"""`submit`: the tool by which a model hands in a structured result.

For targets that take no schema of the answer themselves; see `executus.models.provider`.
"""

from pydantic import Field, JsonValue

from executus.data import Data, absent
from executus.digest import digest
from executus.jsontext import ArgumentsError, parse_object
from executus.output_schema import Schema, fills_object
from executus.plan import ToolDef
from executus.sanitize import clean_json, json_text

SUBMIT = "submit"
VALUE = "value"
"""The argument that holds a result which is no object."""
DESCRIPTION = (
    "Hand in the final result: its arguments are the result. Call it once, alone, when the work is "
    "done: the first call that matches ends the run, and nothing beside it is carried out."
)
ACCEPTED = "accepted: it is the result of the run"
"""What a call is told whose result was taken."""
HINT = f"When you are done, hand in the result by calling the tool `{SUBMIT}`; no text replaces it."
"""Below the system prompt of a target that has the tool."""


class Submission(Data):
    """A call of `submit` in a reply, checked."""

    call_id: str
    """The call; the result stands in its arguments."""
    invalid: str | None = Field(default=None, exclude_if=absent)
    """Why it is none; None when it matches the output schema."""


def submit_tool(schema: Schema) -> ToolDef:
    """The tool for results of this schema."""
    parameters = schema if fills_object(schema) else _wrapped(schema)
    whole = json_text([SUBMIT, DESCRIPTION, parameters])
    return ToolDef(
        name=SUBMIT,
        description=DESCRIPTION,
        parameters=parameters,
        digest=digest(whole.encode()),
        effect="pure",
    )


def submitted(arguments: str, schema: Schema) -> JsonValue:
    """The result in a call's arguments. Deterministic: workflow code calls it too.

    Raises:
        ArgumentsError: there is none.
    """
    values = parse_object(arguments)
    if fills_object(schema):
        return clean_json(values)
    if set(values) != {VALUE}:
        raise ArgumentsError(f"the result is the one argument `{VALUE}`")
    return clean_json(values[VALUE])


def _wrapped(schema: Schema) -> Schema:
    """A tool's parameters are an object, so any other result is one argument of it."""
    above: Schema = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    inner: Schema = {key: value for key, value in schema.items() if key not in above}
    return {
        "type": "object",
        "properties": {VALUE: inner},
        "required": [VALUE],
        "additionalProperties": False,
        **above,
    }
