"""A call's result as the text that the model reads. Loads nothing of the `mcp` package."""

import base64
import binascii
import json
import mimetypes
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from executus.errors import ToolError
from executus.images import image_type
from executus.sanitize import clean_line, json_text
from executus.tools import ToolContext

if TYPE_CHECKING:
    from mcp_types import CallToolResult, ContentBlock

MAX_WORD = 500
"""Characters of an address, a name or a media type."""


async def text_of(result: "CallToolResult", context: ToolContext) -> str:
    """All of it as text; what is none is shown, kept as a file of the run, or noted as left out.

    Raises:
        ToolError: the server says that the tool failed.
    """
    blocks = [await _block(block, context) for block in result.content]
    structured = result.structured_content
    if structured is not None and not any(_says(text, structured) for text in _texts(result)):
        blocks.append(json_text(structured))
    text = "\n\n".join(blocks)
    if result.is_error:
        raise ToolError(text or "failed, and did not say why")
    return text or "done"


def _texts(result: "CallToolResult") -> Iterator[str]:
    return (block.text for block in result.content if block.type == "text")


def _says(text: str, structured: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether `text` is the structured value again, as servers write it for older clients.

    The package's own servers put what is no object under `result`, and its text beside it.
    """
    values = [structured]
    if isinstance(structured, dict) and set(structured) == {"result"}:  # pyright: ignore[reportUnknownArgumentType]
        values.append(structured["result"])
    try:
        said: object = json.loads(text)
    except (ValueError, RecursionError):
        said = text
    return text in values or said in values


async def _block(block: "ContentBlock", context: ToolContext) -> str:
    match block.type:
        case "text":
            return block.text
        case "image" | "audio":
            return f"[{await _data(block.type, block.mime_type, block.data, context)}]"
        case "resource_link":
            return f"[{_word(block.name)}: {_word(str(block.uri))}]"
        case "resource":
            held, address = block.resource, _word(str(block.resource.uri))
            if (text := getattr(held, "text", None)) is not None:
                return f"[{address}]\n{text}"
            blob: str = getattr(held, "blob", "")
            name = address.rpartition("/")[2] or "resource"
            return f"[{address}: {await _data(name, held.mime_type or '', blob, context)}]"


async def _data(name: str, mime: str, encoded: str, context: ToolContext) -> str:
    """What became of something that is no text."""
    mime = _word(mime).lower() or "data"
    try:
        data = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return f"{mime}: not readable, left out"
    what = f"{mime}, {len(data):,} bytes"
    if image_type(data) is not None and _attached(data, context):
        return f"{what}: shown below"
    if not context.files.wired:
        return f"{what}: not shown"
    if "." not in name:
        name += mimetypes.guess_extension(mime) or ""
    try:
        return f"{what}: file {(await context.files.put(name, mime, data)).id}"
    except ToolError as error:  # the call has been made: its text is worth more than its picture
        return f"{what}: not kept, {error}"


def _attached(data: bytes, context: ToolContext) -> bool:
    """Whether the model will see this image; not one too many, or where the host wants none."""
    try:
        context.attach_image(data)
    except ToolError:
        return False
    return True


def _word(text: str) -> str:
    return clean_line(text, MAX_WORD)
