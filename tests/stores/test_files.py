"""The file store, on a folder and on S3: the same tests."""

import asyncio
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from executus.errors import ConfigError, FileRefused, StoreError, UnknownFile
from executus.files import MAX_FILE_BYTES, FileScope
from executus.stores.blobs import FolderBlobs
from executus.stores.file_store import FileStore, open_files
from tests.s3_server import S3Server, running

ANN = FileScope(run_id="run-1", caller_id="ann")
OTHERS = {
    "another run of hers": FileScope(run_id="run-2", caller_id="ann"),
    "another caller's run of the same id": FileScope(run_id="run-1", caller_id="bob"),
    "the same name in another organisation": FileScope(
        run_id="run-1", caller_id="ann", tenant_id="acme"
    ),
    "a run id that looks like a path": FileScope(run_id="../run-1", caller_id="ann"),
}


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with running() as server:
        yield server


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path: Path, monkeypatch) -> str:
    """Where an empty store is: a folder, or a bucket of a real HTTP server."""
    if request.param == "folder":
        return str(tmp_path / "files")
    server: S3Server = request.getfixturevalue("s3")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server.new_place()


@pytest.fixture
def store(place: str) -> FileStore:
    return open_files(place)


async def test_what_is_put_comes_back_whole_and_in_parts(store):
    data = bytes(range(256)) * 40
    ref = await store.put(ANN, "a.bin", "application/x-thing", data)
    assert (ref.name, ref.mime, ref.bytes) == ("a.bin", "application/x-thing", 10_240)
    assert await store.get(ANN, ref.id) == data
    assert await store.get(ANN, ref.id, 100, 50) == data[100:150]
    assert await store.get(ANN, ref.id, 10_200) == data[10_200:]
    assert await store.get(ANN, ref.id, 10_200, 1_000) == data[10_200:]
    assert await store.get(ANN, ref.id, 10_240, 5) == b""
    assert await store.get(ANN, ref.id, 99_999) == b""
    assert await store.get(ANN, ref.id, 5, 0) == b""
    assert await store.stat(ANN, ref.id) == ref


@pytest.mark.parametrize("scope", OTHERS.values(), ids=OTHERS)
async def test_an_id_says_nothing_to(store, scope):
    ref = await store.put(ANN, "secret.txt", "text/plain", b"of ann")
    assert await store.stat(scope, ref.id) is None
    assert await store.files(scope) == []
    with pytest.raises(UnknownFile, match="no file"):
        await store.get(scope, ref.id)


@pytest.mark.parametrize("file_id", ["", "..", "../../etc/passwd", "A" * 32, "0" * 33, "0" * 32])
async def test_what_is_no_id_is_unknown(store, file_id):
    await store.put(ANN, "a.txt", "text/plain", b"x")
    with pytest.raises(UnknownFile):
        await store.get(ANN, file_id)


async def test_the_same_again_is_the_same_file_and_another_name_is_another(store):
    first = await store.put(ANN, "a.txt", "text/plain", b"x")
    assert await store.put(ANN, "a.txt", "text/plain", b"x") == first
    other = await store.put(ANN, "b.txt", "text/plain", b"x")
    assert other.id != first.id
    assert other.digest == first.digest
    assert [ref.name for ref in await store.files(ANN)] == ["a.txt", "b.txt"]


async def test_empty_and_oversize_files_are_refused(store):
    with pytest.raises(FileRefused, match="empty"):
        await store.put(ANN, "a.txt", "text/plain", b"")
    with pytest.raises(FileRefused, match="50,000,000"):
        await store.put(ANN, "a.txt", "text/plain", bytes(MAX_FILE_BYTES + 1))
    assert await store.files(ANN) == []


async def test_a_file_of_the_largest_size_is_kept(store):
    data = bytes(MAX_FILE_BYTES)
    ref = await store.put(ANN, "a.bin", "application/x-zeros", data)
    assert await store.get(ANN, ref.id, MAX_FILE_BYTES - 3) == b"\0\0\0"


async def test_many_puts_of_the_same_file_at_once_make_one(store):
    refs = await asyncio.gather(
        *(store.put(ANN, "a.txt", "text/plain", b"same" * 1_000) for _ in range(8))
    )
    assert len(set(refs)) == 1
    assert await store.get(ANN, refs[0].id) == b"same" * 1_000
    (run,) = await store.runs()
    assert (run.run_id, run.files, run.bytes) == ("run-1", 1, 4_000)


async def test_the_store_never_uses_a_name_as_a_path(store, tmp_path):
    for name in ("../../up.txt", "/abs.txt", "C:\\x\\y.txt", "a\x00b.txt", "...", "\u2044etc"):
        ref = await store.put(ANN, name, "text/plain", name.encode())
        assert "/" not in ref.name
        assert await store.get(ANN, ref.id) == name.encode()
    outside = [p for p in tmp_path.rglob("*") if p.is_file() and "files" not in p.parts]
    assert outside == []


async def test_an_operator_sees_and_removes_runs(store):
    bob = FileScope(run_id="run-1", caller_id="bob")
    await store.put(ANN, "a.txt", "text/plain", b"aa")
    await store.put(bob, "b.txt", "text/plain", b"bbb")
    await store.put(OTHERS["another run of hers"], "c.txt", "text/plain", b"c")
    runs = {run.run_id: (run.files, run.bytes) for run in await store.runs()}
    assert runs == {"run-1": (2, 5), "run-2": (1, 1)}
    assert {kept.ref.name for kept in await store.of_run("run-1")} == {"a.txt", "b.txt"}
    assert await store.remove("run-1") == 2
    assert await store.of_run("run-1") == []
    assert [run.run_id for run in await store.runs()] == ["run-2"]


async def test_a_purge_takes_old_runs_but_not_those_to_keep(store):
    for run in ("old", "open"):
        scope = FileScope(run_id=run, caller_id="ann")
        await store.put(scope, "a.txt", "text/plain", b"x")

    async def is_open(run_id: str) -> bool:
        return run_id == "open"

    early = datetime.now(UTC) - timedelta(minutes=5)
    assert await store.purge(early) == (0, 0, 0)
    late = datetime.now(UTC) + timedelta(minutes=5)
    assert await store.purge(late, keep=is_open) == (1, 1, 1)
    assert [run.run_id for run in await store.runs()] == ["open"]


async def test_a_store_without_anything_in_it_lists_nothing(store):
    assert await store.runs() == []
    assert await store.files(ANN) == []
    assert await store.of_run("run-1") == []
    assert await store.remove("run-1") == 0


# -- the folder ----------------------------------------------------------------------------------


async def test_a_folder_is_for_its_owner_only(tmp_path):
    await open_files(str(tmp_path / "files")).put(ANN, "a.txt", "text/plain", b"x")
    for path in [tmp_path / "files", *(tmp_path / "files").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


async def test_a_purge_leaves_what_is_not_its_own(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    store = open_files(str(tmp_path))
    await store.put(ANN, "a.txt", "text/plain", b"x")
    assert await store.purge(datetime.now(UTC) + timedelta(days=1)) == (1, 1, 0)
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"meow"


async def test_a_file_whose_content_was_changed_or_cut_is_told(tmp_path):
    store = open_files(str(tmp_path))
    for number, damage in enumerate([b"changed!", b"cut"]):
        ref = await store.put(ANN, f"{number}.txt", "text/plain", b"original")
        (found,) = tmp_path.rglob(f"{ref.id}.data")
        found.write_bytes(damage)
        with pytest.raises(StoreError, match="not what was put"):
            await store.get(ANN, ref.id)


async def test_a_file_without_its_record_is_not_there(tmp_path):
    """The record is written last: a process that dies in between leaves no half of a file."""
    store = open_files(str(tmp_path))
    ref = await store.put(ANN, "a.txt", "text/plain", b"x")
    (record,) = tmp_path.rglob(f"{ref.id}.json")
    record.unlink()
    assert await store.stat(ANN, ref.id) is None
    assert await store.put(ANN, "a.txt", "text/plain", b"x") == ref
    assert await store.get(ANN, ref.id) == b"x"


KILLED = """
import asyncio, os, sys
from pathlib import Path
from executus.stores import blobs
blobs.os.fsync = lambda _: os._exit(9)
asyncio.run(blobs.FolderBlobs(Path(sys.argv[1])).write("a/b", b"half"))
"""


def test_a_write_that_is_killed_leaves_what_was_there(tmp_path):
    store = FolderBlobs(tmp_path)
    asyncio.run(store.write("a/b", b"before"))
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert done.returncode == 9
    assert asyncio.run(store.read("a/b")) == b"before"


async def test_trouble_with_the_folder_is_a_store_error(tmp_path):
    (tmp_path / "files").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="folder of files"):
        await open_files(str(tmp_path / "files")).put(ANN, "a.txt", "text/plain", b"x")


# -- S3 ------------------------------------------------------------------------------------------


async def test_a_bucket_that_is_not_there_is_a_store_error_without_internals(s3, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    store = open_files("s3://no-such-bucket/x")
    with pytest.raises(StoreError, match="no such bucket"):
        await store.put(ANN, "a.txt", "text/plain", b"x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StoreError, match="store of files") as caught:
        await open_files("s3://bucket/x").stat(ANN, "0" * 32)
    assert "\n" not in str(caught.value)


def test_a_missing_extra_names_itself():
    code = (
        "import sys; sys.modules['obstore'] = None\n"
        "from executus.stores.file_store import open_files\n"
        "open_files('s3://bucket/x')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "executus[s3]"' in done.stderr


@pytest.mark.parametrize("place", ["ftp://x/y", "https://bucket/x"])
def test_an_unknown_kind_of_place_names_the_known_ones(place):
    with pytest.raises(ConfigError, match=r"file://, s3://, gs://, az://"):
        open_files(place)
