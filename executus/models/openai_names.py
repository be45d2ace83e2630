"""What the names of OpenAI's models say of them."""

NO_SCHEMA = ("gpt-3", "gpt-4-", "gpt-4o-2024-05-13", "chatgpt-", "o1-mini", "o1-preview")
"""Models, by the beginning of their names, from before structured outputs."""


def knows_schemas(model: str) -> bool:
    """Whether the model can be held to a JSON schema; a fine-tuned one is as its base."""
    base = model.removeprefix("ft:")
    return base.partition(":")[0] != "gpt-4" and not base.startswith(NO_SCHEMA)
