"""`read_more`: the built-in tool that reads files of the run, a page at a time."""

import codecs

from executus.errors import ToolError
from executus.files import FileRef
from executus.images import OUTPUT_BYTES
from executus.sanitize import ESCAPED, fits_json
from executus.tools.context import ToolContext
from executus.tools.tool import Tool, tool

HEAD_BYTES = 100
"""Room for the line above a page, without the name."""
MIN_PAGE = 64
"""Bytes of a page, however small the results of the run may be."""
TEXT_MIMES = ("text/", "application/json", "application/xml", "application/yaml")
"""Types that are text, if perhaps in an old encoding."""
ESCAPED_PAGE = OUTPUT_BYTES // ESCAPED - 2_000
"""Bytes of a page that fits whatever is in it; a longer one that does not would be cut."""
LONGEST = 4
"""Bytes of the longest character in UTF-8."""


@tool(effect="pure", visibility="public")
async def read_more(
    context: ToolContext, file_id: str, offset: int = 0, length: int | None = None
) -> str:
    """Read a text file of this run: an attached file, or the whole of a result that was cut.

    Args:
        context: Of the run.
        file_id: The file's id, as it was shown.
        offset: First byte to read.
        length: Most bytes to read; as many as one result may have when left out.
    """
    ref = await context.files.stat(file_id)
    if offset < 0 or (length is not None and length < 1):
        raise ToolError("offset must be 0 or more, length 1 or more")
    if offset >= ref.bytes:
        return f"[{ref.name}: nothing from byte {offset} on; it has {ref.bytes:,} bytes]"
    room = max(MIN_PAGE, context.result_bytes - HEAD_BYTES - len(ref.name.encode()))
    size = min(room, length or room)
    data = await context.files.read(file_id, offset, size + LONGEST)
    page = _page(ref, offset, data, size)
    if fits_json(page, OUTPUT_BYTES):
        return page
    return _page(ref, offset, data, ESCAPED_PAGE)


def _page(ref: FileRef, offset: int, data: bytes, length: int) -> str:
    """At most `length` bytes of text that begins at `offset`; characters are not split."""
    skip = _continued(data) if offset else 0
    page = data[skip : max(skip + LONGEST, length)]
    text, used = _decode(ref, page, at_end=offset + skip + len(page) >= ref.bytes)
    start, end = offset + skip, offset + skip + used
    more = f"; next: offset={end}" if end < ref.bytes else "; the end"
    return f"[{ref.name}, bytes {start}-{end - 1} of {ref.bytes}{more}]\n{text}"


def _continued(data: bytes) -> int:
    """Bytes at the front that belong to a character which began before."""
    count = 0
    while count < min(LONGEST - 1, len(data)) and data[count] & 0xC0 == 0x80:  # noqa: PLR2004
        count += 1
    return count


def _decode(ref: FileRef, page: bytes, *, at_end: bool) -> tuple[str, int]:
    """The text, and how many bytes of it are whole characters."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(page, final=at_end)
    except UnicodeDecodeError:
        return _not_utf8(ref, page), len(page)
    if "\0" in text:
        raise _binary(ref)
    left = len(decoder.getstate()[0])
    return text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"), len(page) - left


def _not_utf8(ref: FileRef, page: bytes) -> str:
    if not ref.mime.startswith(TEXT_MIMES) or b"\0" in page:
        raise _binary(ref)
    return page.decode("latin-1")


def _binary(ref: FileRef) -> ToolError:
    return ToolError(
        f"{ref.name} ({ref.mime}, {ref.bytes:,} bytes) is not text, so it cannot be shown; a tool "
        "that is made for its type can open it by its file id, if you have one"
    )


FILE_TOOLS: tuple[Tool, ...] = (read_more,)
"""What every run with a file store and tools is granted."""
