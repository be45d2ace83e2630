"""A tool result that is too long for the conversation is kept whole, and can be read on."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from executus import Status
from executus.digest import digest
from executus.errors import StoreError
from executus.files import FileScope
from executus.limits import Defaults
from executus.models.scripted import call, calls, say
from executus.stores.blobs import FolderBlobs
from executus.stores.file_store import FileStore
from executus.tools import ToolContext, tool

from .kit import assert_closed_once, kit

READ_ON = re.compile(r'read_more\(file_id="([0-9a-f]{32})", offset=(\d+)\)')
LONG = "".join(f"line {n}: Grüße 世界\n" for n in range(3_000))
LIMITS = {"tool_result_bytes": 4_096}


@tool(effect="pure")
def dump() -> str:
    """Return a long text."""
    return LONG


@tool(effect="pure", local=True)
def quick_dump() -> list[int]:
    """Return a long list."""
    return list(range(5_000))


@tool
async def report(ctx: ToolContext) -> str:
    """Put a file."""
    ref = await ctx.files.put("../report.csv", "text/csv", b"a;b\n1;2\n")
    return ref.id


class Broken(FileStore):
    """A store that fails in some way."""

    def __init__(self, how: str) -> None:
        super().__init__(FolderBlobs(Path("/nonexistent")))
        self.how = how

    async def put(self, scope, name, mime, data):
        if self.how == "hang":
            await asyncio.Event().wait()
        raise {"outage": StoreError("disk full"), "bug": ValueError("bug")}[self.how]


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(FolderBlobs(tmp_path / "files"))


def last_result(request) -> str:
    return request.messages[-1].message.parts[0].text


async def test_a_long_result_is_kept_whole_and_read_to_its_end_by_the_model(env, store):
    pages = []

    def read_all(request):
        if request.messages[-1].message.role == "user":
            return call("dump")
        text = last_result(request)
        assert len(text.encode()) <= 4_096
        found = READ_ON.search(text)
        if found is not None:  # the head of the result itself
            pages.append(text[: text.index("\n[...")])
            assert int(found[2]) == len(pages[0].encode())
            return call("read_more", file_id=found[1], offset=20_000)
        head, _, page = text.partition("\n")
        more = re.search(r"next: offset=(\d+)", head)
        pages.append(page)
        file_id = json.loads(request.messages[-2].message.tool_calls[0].arguments)["file_id"]
        return call("read_more", file_id=file_id, offset=int(more[1])) if more else say("read")

    async with kit(env, tools=[dump], files=store) as k:
        out = await k.run(read_all, tools=("dump",), limits=LIMITS, max_iterations=60)
        assert out.result.status is Status.OK, out.result.error
        model, dumped, again, read = out.activities[3:7]
        assert (model, again) == ("executus.model", "executus.model")
        assert (dumped, read) == ("tool.dump", "tool.read_more")
        assert LONG.startswith(pages[0])
        assert "".join(pages[1:]) == LONG.encode()[20_000:].decode()
        (kept,) = await store.of_run(out.result.run_id)
        assert kept.ref.name == "dump-m1.t1.txt"
        assert kept.ref.digest == digest(LONG.encode())
        assert out.result.files == ()
        rows = await k.audit.rows(out.result.run_id)
        (row,) = [row for row in rows if row.key == "m1.t1#1"]
        assert row.body["content"]["file_id"]["value"] == kept.ref.id
        await assert_closed_once(k, out)


async def test_a_local_tools_long_result_is_kept_too(env, store):
    async with kit(env, tools=[quick_dump], files=store) as k:
        out = await k.run([call("quick_dump"), say("ok")], tools=("quick_dump",), limits=LIMITS)
        assert out.result.status is Status.OK
        (kept,) = await store.of_run(out.result.run_id)
        assert (kept.ref.name, kept.ref.mime) == ("quick_dump-m1.t1.json", "application/json")
        assert json.loads(await store.get(kept.scope, kept.ref.id)) == list(range(5_000))


async def test_without_a_store_a_long_result_is_cut_and_there_is_nothing_to_read_it_with(env):
    seen = []

    def look(request):
        seen.append((last_result(request), [t.name for t in request.tools]))
        return say("ok") if len(seen) > 1 else call("dump")

    async with kit(env, tools=[dump]) as k:
        out = await k.run(look, tools=("dump",), limits=LIMITS)
        assert out.result.status is Status.OK
    text, tools = seen[1]
    assert digest(LONG.encode()) in text
    assert READ_ON.search(text) is None
    assert tools == ["dump"]


@pytest.mark.parametrize(
    ("how", "told"),
    [("outage", "disk full"), ("bug", "raised ValueError"), ("hang", "longer than 1 s")],
)
async def test_a_store_that_fails_is_told_and_the_result_stands(env, how, told, monkeypatch):
    from executus.activities import tool as tool_activity

    monkeypatch.setattr(tool_activity, "SPILL_SECONDS", 0.1)  # beside the tool's own second
    brief = tool(name="dump", effect="once", timeout=1)(dump.function)
    seen = []

    def look(request):
        seen.append(last_result(request))
        return say("ok") if len(seen) > 1 else call("dump")

    async with kit(env, tools=[brief], files=Broken(how)) as k:
        out = await k.run(look, tools=("dump",), limits=LIMITS)
        assert out.result.status is Status.OK
        assert [step.status for step in out.result.steps] == ["complete"] * 3
    assert "the whole is not kept" in seen[1]
    assert told in seen[1]
    assert len(seen[1].encode()) <= 4_096


async def test_a_run_of_another_caller_cannot_read_the_file(env, store):
    heard = []

    def steal(request):
        heard.append(request.messages[-1].message.parts[0])
        return say("ok") if len(heard) > 1 else call("read_more", file_id=kept.ref.id)

    async with kit(env, tools=[dump], files=store) as k:
        hers = await k.run([call("dump"), say("ok")], tools=("dump",), limits=LIMITS)
        (kept,) = await store.of_run(hers.result.run_id)
        for caller in ("bob", "ann"):  # another run of hers cannot either
            heard.clear()
            await k.run(steal, tools=("dump",), caller_id=caller)
            assert heard[1].outcome == "error"
            assert heard[1].text.startswith(f"no file '{kept.ref.id}' in this run; its files: none")


async def test_what_tools_put_is_listed_in_the_result(env, store):
    async with kit(env, tools=[report, dump], files=store) as k:
        out = await k.run(
            [calls(("report", {}), ("dump", {})), call("report"), say("ok")],
            tools=("report", "dump"),
        )
        (ref,) = out.result.files
        assert (ref.name, ref.mime, ref.bytes) == ("report.csv", "text/csv", 8)
        scope = FileScope(run_id=out.result.run_id, caller_id="ann")
        assert await store.get(scope, ref.id) == b"a;b\n1;2\n"
        assert (await k.runs.state(out.result.run_id)).files == (ref,)


async def test_files_are_still_known_after_the_run_went_on_in_another_execution(env, store):
    script = [call("report"), call("dump"), *[call("dump")] * 9, say("ok")]
    brief = Defaults(history_events=50)
    async with kit(env, tools=[report, dump], files=store, defaults=brief) as k:
        out = await k.run(
            script,
            tools=("report", "dump"),
            max_iterations=30,
            limits={"same_tool_calls": 0, "tool_result_bytes": 1_000},
        )
        assert out.result.status is Status.OK
        assert [ref.name for ref in out.result.files] == ["report.csv"]
        assert "tool.report" not in out.activities  # that was in an earlier execution
