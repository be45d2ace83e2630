"""`read_more` and the files of a run as its tools see them."""

import asyncio
import re
from pathlib import Path

import pytest

from executus.errors import StoreError, ToolError, ToolRetry
from executus.files import FileScope
from executus.stores.blobs import FolderBlobs
from executus.stores.file_store import FileStore
from executus.tools import ToolContext, tool
from executus.tools.read_more import read_more
from executus.tools.run_files import MAX_PUT, RunFiles

from .calls import call, context

SCOPE = FileScope(run_id="run-1", caller_id="ann")
TEXT = "Grüße, 世界 🙂! " * 500
NEXT = re.compile(
    r"\[(?P<name>.+), bytes (\d+)-(\d+) of (\d+); (next: offset=(?P<next>\d+)|the end)\]\n"
)


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(FileStore(FolderBlobs(tmp_path)), SCOPE)


async def page(files: RunFiles, *arguments, result_bytes: int = 65_536) -> tuple[str, int | None]:
    """The text of a page, and where the next one begins."""
    made = context(files=files, result_bytes=result_bytes)
    text = await read_more(made, *arguments)
    assert len(text.encode()) <= result_bytes
    head = NEXT.match(text)
    assert head is not None, text
    return text[head.end() :], int(head["next"]) if head["next"] else None


@pytest.mark.parametrize("size", [256, 300, 1_001, 4_096, 65_536])
async def test_pages_put_together_are_the_file_whatever_their_size(files, size):
    ref = await files.put("a.txt", "text/plain", TEXT.encode())
    parts, offset = [], 0
    while offset is not None:
        text, offset = await page(files, ref.id, offset, result_bytes=size)
        parts.append(text)
    assert "".join(parts) == TEXT


@pytest.mark.parametrize("unit", ["\x1b", '"', "Grüße\n"], ids=ascii)
async def test_a_page_has_no_hole_where_its_text_is_escaped(files, unit):
    whole = unit * (600_000 // len(unit.encode()))
    ref = await files.put("a.txt", "text/plain", whole.encode())
    parts, offset = [], 0
    while offset is not None:
        arguments = f'{{"file_id": "{ref.id}", "offset": {offset}}}'
        part = await call(read_more, arguments, files=files, result_bytes=524_288)
        assert not part.truncated
        head = NEXT.match(part.text)
        parts.append(part.text[head.end() :])
        offset = int(head["next"]) if head["next"] else None
    assert "".join(parts) == whole


@pytest.mark.parametrize("length", [1, 2, 3, 5])
async def test_a_page_makes_progress_however_short(files, length):
    ref = await files.put("a.txt", "text/plain", "🙂世ü".encode())
    parts, offset = [], 0
    while offset is not None:
        text, offset = await page(files, ref.id, offset, length)
        assert text
        parts.append(text)
    assert "".join(parts) == "🙂世ü"


async def test_an_offset_inside_a_character_begins_with_the_next_one(files):
    ref = await files.put("a.txt", "text/plain", "🙂abc".encode())
    for offset in (1, 2, 3, 4):
        assert (await page(files, ref.id, offset))[0] == "abc"


async def test_past_the_end_there_is_nothing_and_the_size_is_told(files):
    ref = await files.put("a.txt", "text/plain", b"abc")
    assert "nothing from byte 3 on; it has 3 bytes" in await read_more(
        context(files=files), ref.id, 3
    )


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\x00\x00", b"a\x00b", b"\xff\xfe" * 50])
async def test_a_binary_file_is_refused_with_a_hint(files, data):
    ref = await files.put("a.bin", "application/octet-stream", data)
    with pytest.raises(ToolError, match=r"not text.*by its file id"):
        await read_more(context(files=files), ref.id)


async def test_text_in_an_old_encoding_is_read(files):
    ref = await files.put("a.csv", "text/csv", "Größe;1\n".encode("latin-1"))
    assert (await page(files, ref.id))[0] == "Größe;1\n"


async def test_an_unknown_id_names_the_files_there_are(files):
    ref = await files.put("a.txt", "text/plain", b"abc")
    other = RunFiles(files._store, SCOPE.model_copy(update={"caller_id": "bob"}))
    with pytest.raises(ToolError, match="its files: none"):
        await read_more(context(files=other), ref.id)
    part = await call(read_more, '{"file_id": "../x"}', files=files)
    assert part.outcome == "error"
    assert part.text == f"no file '../x' in this run; its files: {ref.id} (a.txt)"


async def test_without_a_store_a_tool_is_told_what_to_wire():
    with pytest.raises(ToolError, match=r"Ports\(files"):
        await context().files.all()


async def test_trouble_of_the_store_is_worth_another_attempt(files, monkeypatch):
    async def broken(*_):
        raise StoreError("disk on fire")

    monkeypatch.setattr(files._store, "stat", broken)
    with pytest.raises(ToolRetry, match="disk on fire"):
        await files.stat("0" * 32)


async def test_a_call_puts_a_bounded_number_of_files_and_the_same_once(files):
    for _ in range(2):
        await files.put("a.txt", "text/plain", b"abc")
    assert len(files.made) == 1
    for number in range(1, MAX_PUT):
        await files.put("a.txt", "text/plain", str(number).encode())
    with pytest.raises(ToolError, match=f"at most {MAX_PUT}"):
        await files.put("a.txt", "text/plain", b"one more")
    with pytest.raises(ToolError, match="empty"):
        await RunFiles(files._store, SCOPE).put("a.txt", "text/plain", b"")


@tool
def plain(ctx: ToolContext) -> str:
    """Put a file and read it, from a thread."""
    ref = ctx.wait(ctx.files.put("a.txt", "text/plain", b"from a thread"))
    return ctx.wait(ctx.files.read(ref.id, 5)).decode()


@tool
async def wrong(ctx: ToolContext) -> str:
    """Wait where one must await."""
    return ctx.wait(ctx.files.read("x")).decode()


async def test_a_plain_tool_waits_for_files_and_an_async_one_must_not(files):
    assert (await call(plain, files=files)).text == "a thread"
    part = await call(wrong, files=files)
    assert part.outcome == "error"
    assert "in an async one, await it" in part.text


def test_the_name_is_reserved():
    from executus.errors import ConfigError

    with pytest.raises(ConfigError, match="read_more"):
        tool(name="read_more")(lambda: None)


async def test_pages_may_be_read_at_the_same_time(files):
    ref = await files.put("a.txt", "text/plain", b"x" * 10_000)
    pages = await asyncio.gather(*(page(files, ref.id, n * 1_000, 1_000) for n in range(10)))
    assert "".join(text for text, _ in pages) == "x" * 10_000
