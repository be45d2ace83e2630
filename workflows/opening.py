"""The opening user message of a run."""

from executus.errors import RequestError
from executus.invocation import Invocation
from executus.message import Message, Part, TextPart
from executus.sanitize import clean_text, json_text


def opening_message(invocation: Invocation) -> Message:
    """Prompt, named inputs, images and files as one user message; no empty text part.

    Raises:
        RequestError: there is nothing in it.
    """
    parts: list[Part] = []
    blocks = [clean_text(invocation.prompt)] if invocation.prompt.strip() else []
    if invocation.inputs:
        blocks.append(f"[INPUTS]\n{json_text(invocation.inputs)}")
    if blocks:
        parts.append(TextPart(text="\n\n".join(blocks)))
    parts.extend(invocation.images)
    parts.extend(invocation.files)
    if not parts:
        raise RequestError(
            "nothing is asked: give the invocation a prompt, inputs, images or files"
        )
    return Message(role="user", parts=tuple(parts))
