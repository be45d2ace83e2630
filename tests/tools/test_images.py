"""Images that a tool attaches or returns: what passes, and what is refused in words."""

import pytest

from executus.errors import ConfigError
from executus.images import (
    MAX_IMAGE_BYTES,
    MAX_IMAGES,
    OUTPUT_BYTES,
    encoded,
    image_type,
    text_room,
)
from executus.message import ImagePart
from executus.tools import ToolContext, tool

from .calls import call, context

PNG = b"\x89PNG\r\n\x1a\n"
KINDS = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0",
    "image/gif": b"GIF89a",
    "image/webp": b"RIFF\x00\x00\x00\x00WEBP",
}


@pytest.mark.parametrize("mime", KINDS)
def test_an_image_is_known_by_its_content(mime):
    assert image_type(KINDS[mime] + b"rest") == mime


@pytest.mark.parametrize("data", [b"", b"<svg/>", b"RIFF\x00\x00\x00\x00WAVE", b"PNG"])
def test_what_no_model_sees_is_no_image(data):
    assert image_type(data) is None


@tool(image_bytes=1_000)
async def show(ctx: ToolContext, size: int, times: int = 1, mime: str | None = None) -> str:
    """Attach images."""
    for _ in range(times):
        ctx.attach_image(PNG + bytes(size - len(PNG)), mime)
    return "shown"


@tool(image_bytes=1_000)
def returned(kind: str) -> object:
    """Return images."""
    image = ImagePart(mime="image/png", data=PNG)
    return {"one": image, "with text": ["text", image], "several": (image, 1, image, 2)}[kind]


async def test_what_is_attached_stands_beside_the_text():
    made = context(image_bytes=1_000)
    assert await show(made, 500, 2) == "shown"
    assert [len(image.data) for image in made.images] == [500, 500]


@pytest.mark.parametrize(
    ("kind", "text", "images"),
    [("one", "attached below", 1), ("with text", "text", 1), ("several", "[1,2]", 2)],
)
async def test_a_returned_image_is_attached(kind, text, images):
    shown: list[ImagePart] = []
    part = await call(returned, f'{{"kind": "{kind}"}}', images=shown)
    assert (part.outcome, part.text, len(shown)) == ("ok", text, images)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ('{"size": 1001}', "1,000 bytes together; with this one it has 1 of 1,001 bytes"),
        ('{"size": 600, "times": 2}', "with this one it has 2 of 1,200 bytes"),
        (f'{{"size": 10, "times": {MAX_IMAGES + 1}}}', f"attach {MAX_IMAGES} images"),
        ('{"size": 10, "mime": "image/jpeg"}', "image/jpeg: its content is image/png"),
    ],
)
async def test_too_much_is_told_and_nothing_is_shown(arguments, why):
    part = await call(show, arguments, image_bytes=1_000)
    assert part.outcome == "error"
    assert why in part.text


async def test_a_tool_that_did_not_declare_images_may_attach_none():
    part = await call(show, '{"size": 10}', image_bytes=0)
    assert part.outcome == "error"
    assert "@tool(image_bytes=" in part.text


def test_images_and_text_fit_into_one_output():
    most = [ImagePart(mime="image/png", data=PNG + bytes(MAX_IMAGE_BYTES - len(PNG)))]
    room = text_room(524_288, most)
    assert room + encoded(MAX_IMAGE_BYTES) == OUTPUT_BYTES
    assert room >= 65_536, "the default bound of a result fits beside them"
    assert text_room(524_288, []) == 524_288


@pytest.mark.parametrize("options", [{"image_bytes": -1}, {"image_bytes": MAX_IMAGE_BYTES + 1}])
def test_a_bound_that_cannot_be_is_refused(options):
    with pytest.raises(ConfigError, match="image_bytes"):
        tool(name="a", **options)(lambda: None)


def test_a_local_tool_attaches_nothing():
    with pytest.raises(ConfigError, match="image_bytes"):
        tool(name="a", effect="pure", local=True, image_bytes=10)(lambda: None)
