"""Images that tools show to the model: which, how many, and the message that brings them."""

from collections.abc import Sequence

from executus.errors import ToolError
from executus.message import ImagePart, Message, TextPart, ToolResultPart

IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
"""What every provider's models can see."""
MAX_IMAGES = 8
"""Images that one call may attach."""
MAX_IMAGE_BYTES = 600_000
"""Bytes of them together, before base64 adds a third: they travel in the call's output."""
OUTPUT_BYTES = 900_000
"""Bytes of images and text together in one output."""
SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
"""A provider refuses the whole conversation for one image that is not what it says it is, so the
content decides."""


MIN_JSON = 1_024
"""JSON bytes that the smallest result may take: a mark of what was cut has its place."""


def image_type(data: bytes) -> str | None:
    """The type of an image by its content; None when no model can see it."""
    for signature, mime in SIGNATURES:
        if data.startswith(signature):
            return mime
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def encoded(size: int) -> int:
    """Characters of so many bytes in base64."""
    return -(-size // 3) * 4


def text_room(limit: int, images: Sequence[ImagePart]) -> int:
    """Bytes left for the text of an output that carries these images."""
    return min(limit, _left(images))


def json_room(limit: int, images: Sequence[ImagePart]) -> int:
    """JSON bytes left for it: more than the text has, when much of it has to be escaped."""
    return min(json_cap(limit), _left(images))


def json_cap(limit: int) -> int:
    """JSON bytes of a text of `limit` bytes: twice as many, for quotes.

    A control character takes six, and a batch of results full of them would end the run.
    """
    return min(max(2 * limit, MIN_JSON), OUTPUT_BYTES)


def _left(images: Sequence[ImagePart]) -> int:
    return OUTPUT_BYTES - sum(encoded(len(image.data)) for image in images)


def checked_image(
    data: bytes, mime: str | None, before: Sequence[ImagePart], limit: int
) -> ImagePart:
    """An image that may follow those `before`, within `limit` bytes together.

    Its type is read from its content; a `mime` that is given must agree.

    Raises:
        ToolError: it is none that models see, or one too many.
    """
    if limit == 0:
        msg = "this tool may not attach images: declare it with @tool(image_bytes=...)"
        raise ToolError(msg)
    kind = image_type(data)
    if kind is None or mime not in {None, kind}:
        said = f"{mime}: its content is {kind or 'something else'}; " if mime else ""
        raise ToolError(f"{said}not an image that models can see ({', '.join(sorted(IMAGES))})")
    total = len(data) + sum(len(image.data) for image in before)
    if len(before) >= MAX_IMAGES or total > limit:
        text = f"a call of this tool may attach {MAX_IMAGES} images of {limit:,} bytes together"
        raise ToolError(f"{text}; with this one it has {len(before) + 1} of {total:,} bytes")
    return ImagePart(mime=kind, data=data)


def attached_message(result: ToolResultPart, images: Sequence[ImagePart]) -> Message:
    """What a call attached, as the model is shown it.

    A user message: not every provider takes images in a tool's result.
    """
    text = f"[executus] Attached by {result.name}, call {result.call_id}:"
    return Message(role="user", parts=(TextPart(text=text), *images))
