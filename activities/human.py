"""`ask_human`: the built-in tool by which an agent asks people. An agent has it by naming it."""

from pydantic import JsonValue

from executus.digest import digest
from executus.plan import ToolDef

ASK_HUMAN = "ask_human"
DESCRIPTION = (
    "Ask a person, and wait for the answer. For what only they can know or decide; people are "
    "slow, so ask once, for all that you need."
)
PARAMETERS: dict[str, JsonValue] = {
    "type": "object",
    "properties": {
        "question": {
            "type": "string",
            "minLength": 1,
            "maxLength": 2_000,
            "description": "The question, with what a person needs to know to answer it.",
        },
        "options": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": 200},
            "maxItems": 20,
            "description": "The possible answers, when one of them is wanted.",
        },
    },
    "required": ["question"],
    "additionalProperties": False,
}


def ask_human(result_bytes: int) -> ToolDef:
    """The tool, as granted to a run."""
    return ToolDef(
        name=ASK_HUMAN,
        description=DESCRIPTION,
        parameters=PARAMETERS,
        digest=digest(DESCRIPTION.encode()),
        effect="pure",
        result_bytes=result_bytes,
        human=True,
    )
