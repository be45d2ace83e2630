"""The opening user message of a run."""

from collections.abc import Sequence

from executus.errors import RequestError
from executus.invocation import Invocation
from executus.message import FilePart, Message, Part, TextPart
from executus.sanitize import clean_text, json_text


def has_content(asked: Invocation) -> bool:
    """Whether something is asked."""
    content = (asked.inputs, asked.images, asked.files, asked.dropped_files)
    return bool(asked.prompt.strip()) or any(content)


def check_opening(invocation: Invocation) -> None:
    """See that something is asked.

    Raises:
        RequestError: there is nothing in it.
    """
    if not has_content(invocation):
        raise RequestError(
            "nothing is asked: give the invocation a prompt, inputs, images or files"
        )


def opening_message(
    invocation: Invocation, *, block: str = "", files: Sequence[FilePart] = ()
) -> Message:
    """Prompt, named inputs, images and files as one user message; no empty text part.

    Args:
        invocation: What is asked.
        block: What the model is told of files.
        files: Files by value.
    """
    blocks = [clean_text(invocation.prompt)] if invocation.prompt.strip() else []
    if invocation.inputs:
        blocks.append(f"[INPUTS]\n{json_text(invocation.inputs)}")
    if block:
        blocks.append(block)
    parts: list[Part] = [TextPart(text="\n\n".join(blocks))] if blocks else []
    return Message(role="user", parts=(*parts, *invocation.images, *files))
