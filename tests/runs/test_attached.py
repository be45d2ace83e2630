"""Attached files on real runs: staged, described, read by tool, never in the context by value."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from executus import Invocation, RunnableAgent, RunRequest, Status
from executus.errors import RequestError, StoreError
from executus.files import FileRef, FileScope
from executus.message import FilePart, InputFile
from executus.models.scripted import call, say
from executus.phase import Phase
from executus.runs import Runs
from executus.stores.blobs import FolderBlobs
from executus.stores.file_store import FileStore
from executus.tools import ToolContext, tool

from .kit import assert_closed_once, kit

FILE_ID = re.compile(r'"file_id":"([0-9a-f]{32})"')
CSV = InputFile(name="../sums.csv", mime="text/csv", data=b"name;sum\nanna;12\n")


@tool(effect="pure")
async def total(ctx: ToolContext, file_id: str) -> int:
    """Add up a file."""
    lines = (await ctx.files.read(file_id)).decode().splitlines()[1:]
    return sum(int(line.split(";")[1]) for line in lines)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(FolderBlobs(tmp_path / "files"))


def ids(request) -> list[str]:
    return FILE_ID.findall(request.messages[0].message.text)


def reader(opened: list):
    """A model that reads the first attached file and answers with what it was told."""

    def script(request):
        opened.append([p for wire in request.messages for p in wire.message.parts])
        last = request.messages[-1].message
        if last.role == "tool":
            return say(last.parts[0].text)
        return call("read_more", file_id=ids(request)[0]) if ids(request) else say("no files")

    return script


def asked(k, script, *files, runs=None, **fields):
    request = k.request(script, **{"tools": ("total",), **fields})
    invocation = request.invocation.model_copy(update={"files": files})
    return (runs or k.runs).run(request.model_copy(update={"invocation": invocation}))


@pytest.mark.parametrize("staged_by", ["worker", "client"])
async def test_an_attached_file_is_described_and_read_and_its_bytes_stay_out(env, store, staged_by):
    opened = []
    async with kit(env, tools=[total], files=store) as k:
        runs = Runs(k.client, k.queue, files=store) if staged_by == "client" else k.runs
        result = await asked(k, reader(opened), CSV, runs=runs, prompt="Sum it up")
        assert result.status is Status.OK, result.error
        assert result.output.endswith("the end]\nname;sum\nanna;12\n")
        out = await k.outcome(result.run_id)
        assert out.activities.count("executus.files.stage") == 1
        (text,) = opened[0]
        assert text.text.startswith("Sum it up\n\n[ATTACHED FILES]\n")
        assert '"name":"sums.csv","mime":"text/csv","bytes":17}' in text.text
        assert "anna" not in text.text
        started = out.history.events[0].workflow_execution_started_event_attributes
        by_value = b"YW5uYTsxMgo" in started.input.payloads[0].data  # the content in base64
        assert by_value == (staged_by == "worker")
        assert await events(k, result, "files_attached") == ["1: sums.csv"]
        await assert_closed_once(k, out)


async def events(k, result, name: str) -> list[str]:
    """Summaries of the run's events of one kind."""
    entries = await k.audit.rows(result.run_id)
    return [e.body["summary"] for e in entries if (e.kind, e.name) == ("event", name)]


def adds_up(request):
    """A model that has the first attached file added up."""
    last = request.messages[-1].message
    return (
        say(last.parts[0].text) if last.role == "tool" else call("total", file_id=ids(request)[0])
    )


async def test_a_tool_reads_an_attached_file_by_its_id(env, store):

    async with kit(env, tools=[total], files=store) as k:
        result = await asked(k, adds_up, CSV)
        assert result.output == "12"


async def test_a_file_far_beyond_a_payload_reaches_the_run_by_the_client(env, store):
    lines = b"name;sum\n" + b"x;1\n" * 1_000_000
    big = InputFile(name="big.csv", mime="text/csv", data=lines)

    async with kit(env, tools=[total], files=store) as k:
        with pytest.raises(RequestError, match=r"Runs\(client, files="):
            await asked(k, adds_up, big)
        result = await asked(k, adds_up, big, runs=Runs(k.client, k.queue, files=store))
        assert result.output == "1000000"


async def test_colliding_names_get_2_and_3(env, store):
    opened = []
    files = [InputFile(name=f"{n}/a.txt", data=b"%d" % n) for n in range(3)]
    async with kit(env, tools=[total], files=store) as k:
        await asked(k, reader(opened), *files)
    assert re.findall(r'"name":"([^"]+)"', opened[0][0].text) == ["a.txt", "a-2.txt", "a-3.txt"]


@pytest.mark.parametrize("staged_by", ["worker", "client"])
async def test_empty_and_failed_files_are_skipped_and_model_caller_and_audit_are_told(
    env, store, staged_by, monkeypatch
):
    async def put(scope, name, mime, data):
        if name == "bad.txt":
            raise StoreError("disk full")
        return await FileStore.put(store, scope, name, mime, data)

    monkeypatch.setattr(store, "put", put)
    opened = []
    files = [InputFile(name="empty.txt", data=b""), InputFile(name="bad.txt", data=b"x"), CSV]
    async with kit(env, tools=[total], files=store) as k:
        runs = Runs(k.client, k.queue, files=store) if staged_by == "client" else k.runs
        result = await asked(k, reader(opened), *files, runs=runs)
        assert result.status is Status.OK
        assert result.warnings == (
            'not attached: "empty.txt" (0 bytes): it is empty',
            'not attached: "bad.txt" (1 bytes): the file store failed: disk full',
        )
        for warning in result.warnings:
            assert warning in opened[0][0].text
        assert len(FILE_ID.findall(opened[0][0].text)) == 1
        assert await events(k, result, "file_dropped") == list(result.warnings)


async def test_oversize_file_is_skipped_and_told(env, store):
    big = InputFile(name="huge.bin", data=bytes(50_000_001))
    opened = []
    async with kit(env, tools=[total], files=store) as k:
        runs = Runs(k.client, k.queue, files=store)
        result = await asked(k, reader(opened), big, runs=runs, prompt="")
        assert (result.status, result.output) == (Status.OK, "no files")
    (text,) = opened[0]  # a blank prompt adds no empty text
    assert text.text.splitlines()[1:] == [
        'not attached: "huge.bin" (50,000,001 bytes): larger than 50,000,000 bytes'
    ]


async def test_without_a_store_files_are_not_ignored(env):
    opened = []
    ref = FileRef(id="0" * 32, name="elsewhere.txt", bytes=5)
    async with kit(env, tools=[total]) as k:
        result = await asked(k, reader(opened), CSV, ref)
        assert result.status is Status.OK
        assert result.warnings == (
            'not attached: "elsewhere.txt" (5 bytes): it is not in the file store of this run',
        )
    text, part = opened[0]
    assert result.warnings[0] in text.text
    assert isinstance(part, FilePart)
    assert (part.name, part.mime, part.data) == ("sums.csv", "text/csv", CSV.data)


async def test_a_store_that_is_gone_costs_the_files_and_not_the_run(env, store, monkeypatch):
    async def hang(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(store, "put", hang)
    opened = []
    async with kit(env, tools=[total], files=store) as k:
        result = await asked(k, reader(opened), CSV, max_runtime=2)
        assert (result.status, result.output) == (Status.OK, "no files")
        assert "staging failed" in result.warnings[0]


async def test_another_callers_file_cannot_be_attached_by_its_id(env, store):
    bobs = await store.put(FileScope(run_id="b", caller_id="bob"), "b.txt", "text/plain", b"bob's")
    opened = []
    async with kit(env, tools=[total], files=store) as k:
        result = await asked(k, reader(opened), bobs)
        assert result.output == "no files"
        assert "not in the file store of this run" in result.warnings[0]


async def test_an_agent_without_tools_can_still_read_what_is_attached(env, store):
    async with kit(env, tools=[total], files=store) as k:
        result = await asked(k, reader([]), CSV, tools=())
        assert "anna;12" in result.output
        plain = await k.run(reader([]), tools=())
        assert plain.result.output == "no files"


async def test_a_phase_with_tools_of_its_own_can_read_what_is_attached(env, store):
    async with kit(env, tools=[total], files=store) as k:
        phases = (Phase(name="one", tools=("total",), system_prompt="Read."),)
        result = await asked(k, reader([]), CSV, phases=phases)
        assert "anna;12" in result.output


async def test_a_sub_agent_reads_its_parents_files_and_its_own_are_listed(env, store):
    @tool
    async def write(ctx: ToolContext, file_id: str) -> str:
        """Copy a file."""
        ref = await ctx.files.put("copy.csv", "text/csv", await ctx.files.read(file_id) + b"!")
        return ref.id

    def parent(request):
        last = request.messages[-1].message
        if last.role == "user":
            return call("agent__copier", prompt=ids(request)[0])
        copy = last.parts[0].text
        return call("read_more", file_id=copy) if len(copy) == 32 else say(copy)

    def copier(request):
        last = request.messages[-1].message
        return say(last.parts[0].text) if last.role == "tool" else call("write", file_id=last.text)

    async with kit(env, tools=[write], files=store) as k:
        k.scripts["copier"] = copier
        child = RunnableAgent(name="copier", tools=("write",), model_tier="scripted/copier")
        k.plugin.host.agents["copier"] = child
        result = await asked(k, parent, CSV, tools=(), sub_agents=("copier",))
        assert result.status is Status.OK, result.error
        assert "anna;12\n!" in result.output
        assert [ref.name for ref in result.files] == ["copy.csv"]


def test_a_request_with_files_in_json_reads_as_before():
    text = json.dumps({"files": [{"name": "a.pdf", "mime": "application/pdf", "data": "aGk="}]})
    (file,) = Invocation.model_validate_json(text).files
    assert isinstance(file, InputFile)
    assert file.data == b"hi"
    request = RunRequest(agent="a", invocation=Invocation(files=(CSV, FileRef(id="0" * 32))))
    assert RunRequest.model_validate_json(request.model_dump_json()) == request
