import asyncio
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from executus.audit import AuditOpen
from executus.cli.app import invoke
from executus.files import FileScope
from executus.result import RunResult
from executus.status import Status
from executus.stores.database import Database
from executus.stores.file_store import FileStore, open_files
from executus.stores.sql_audit import SqlAudit

ANN = FileScope(run_id="run-1", caller_id="ann")


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return open_files(str(tmp_path / ".executus" / "files"))


def put(store: FileStore, name: str, data: bytes, scope: FileScope = ANN) -> str:
    return asyncio.run(store.put(scope, name, "text/plain", data)).id


def test_files_of_runs_are_listed_and_fetched(executus, store, tmp_path):
    file_id = put(store, "report.txt", b"hello\n")
    code, out, _ = executus("files", "list")
    assert (code, "run-1  1 files, 6 bytes" in out) == (0, True)
    code, out, _ = executus("files", "list", "run-1")
    assert (code, file_id in out, "report.txt" in out) == (0, True, True)
    (run,) = map(json.loads, executus("files", "list", "--json")[1].splitlines())
    assert (run["run_id"], run["files"], run["bytes"]) == ("run-1", 1, 6)
    (kept,) = map(json.loads, executus("files", "list", "run-1", "--json")[1].splitlines())
    assert (kept["ref"]["id"], kept["scope"]["caller_id"]) == (file_id, "ann")
    assert executus("files", "get", "run-1", file_id) == (0, "hello\n", "")
    executus("files", "get", "run-1", file_id, "-o", "mine.txt")
    assert (tmp_path / "mine.txt").read_bytes() == b"hello\n"


def test_what_is_not_there_is_named(executus, store):
    put(store, "report.txt", b"hello\n")
    code, out, err = executus("files", "get", "run-1", "nope")
    assert (code, out) == (2, "")
    assert err == "executus: run `run-1` has no file `nope`; `executus files list run-1`\n"
    code, _, err = executus("files", "list", "run-9")
    assert code == 2
    assert "no files of run `run-9`" in err


def test_all_files_of_a_run_go_into_a_folder_under_safe_names_and_nothing_is_written_over(
    store, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    put(store, "../../.profile", b"one")
    second = put(store, "report.txt", b"two")
    put(store, "report.txt", b"three", FileScope(run_id="run-1", caller_id="bob"))
    assert invoke(["files", "get", "run-1", "--into", "out/all"]) == 0
    names = {"profile", "report.txt", "report-2.txt"}
    assert {path.name: path.read_bytes() for path in Path("out/all").iterdir()}.keys() == names
    assert set(capsys.readouterr().out.split()) == {f"out/all/{name}" for name in names}
    assert Path("out/all/report.txt").read_bytes() == b"two"
    Path("out/all/report.txt").write_bytes(b"mine")
    assert invoke(["files", "get", "run-1", second, "--into", "out/all"]) == 2
    assert "report.txt is there already" in capsys.readouterr().err
    assert Path("out/all/report.txt").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name one ID"),
        (["a", "b"], "name one ID"),
        (["a", "-o", "x", "--into", "y"], "either -o"),
        (["a", "--into", "y"], "has no file `a`"),
    ],
)
def test_a_get_that_cannot_be_meant_says_what_to_give(
    store, tmp_path, monkeypatch, capsys, arguments, told
):
    monkeypatch.chdir(tmp_path)
    put(store, "report.txt", b"hello\n")
    assert invoke(["files", "get", "run-1", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not Path("y").exists()


def test_a_place_that_cannot_be_written_is_one_line(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("a file")
    file_id = put(store, "report.txt", b"hello\n")
    assert invoke(["files", "get", "run-1", file_id, "-o", "taken/report.txt"]) == 2
    assert capsys.readouterr().err.startswith("executus: cannot write taken/report.txt: ")


@pytest.mark.parametrize(
    ("data", "shown"), [(b"a\tb\r\n\xc2\xa0", True), (b"\x1b]0;x\x07", False), (b"\xff", False)]
)
def test_a_terminal_gets_no_file_that_it_would_obey(
    store, tmp_path, monkeypatch, capfdbinary, data, shown
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    file_id = put(store, "report.txt", data)
    code = invoke(["files", "get", "run-1", file_id])
    out, err = capfdbinary.readouterr()
    assert (code, out) == ((0, data) if shown else (2, b""))
    assert (b"use -o FILE" in err) is not shown


def test_files_that_are_switched_off_say_how_to_name_a_place(executus):
    code, _, err = executus("files", "list", EXECUTUS_FILES_URL="off")
    assert code == 2
    assert "--files" in err


def test_a_purge_removes_what_is_old_and_keeps_open_runs(executus, store, tmp_path):
    open_run = FileScope(run_id="open", caller_id="ann")
    put(store, "a.txt", b"a")
    put(store, "b.txt", b"b", open_run)
    put(store, "c.txt", b"c", FileScope(run_id="new", caller_id="ann"))
    for path in (tmp_path / ".executus" / "files").rglob("*.*"):
        if "new" not in path.with_suffix(".json").read_text():
            os.utime(path, (time.time() - 10_000,) * 2)

    async def start() -> None:
        database = Database(f"sqlite:///{tmp_path}/.executus/executus.db")
        await database.migrate()
        await SqlAudit(database).start(
            AuditOpen(
                run_id="open",
                workflow_run_id="w",
                agent_id="a",
                agent_name="a",
                caller_id="ann",
                started_at=datetime.now(UTC),
            )
        )
        await database.close()

    asyncio.run(start())
    code, out, err = executus("files", "purge", "--older-than", "1h")
    assert code == 0, err
    assert "removed 1 files of 1 runs" in out
    assert "kept those of 1 open runs" in out
    assert {run.run_id for run in asyncio.run(store.runs())} == {"open", "new"}


def test_attached_files_reach_the_run_and_what_is_dropped_is_told(executus, store, tmp_path):
    (tmp_path / "notes.txt").write_text("The codeword is heron.\n")
    (tmp_path / "empty.txt").write_text("")
    with (tmp_path / "big.bin").open("wb") as big:
        big.truncate(51_000_000)
    files = ("--file", "notes.txt", "--file", "empty.txt", "--file", "big.bin")
    code, out, err = executus("run", "--json", *files, "What did Lighthouse cost in total?")
    result = RunResult.model_validate_json(out)
    assert (code, result.status) == (0, Status.OK)
    assert result.warnings == (
        'not attached: "big.bin" (51,000,000 bytes): larger than 50,000,000 bytes',
        'not attached: "empty.txt" (0 bytes): it is empty',
    )
    assert 'warning   not attached: "empty.txt"' in err
    (kept,) = asyncio.run(store.of_run(result.run_id))
    assert (kept.ref.name, kept.ref.mime) == ("notes.txt", "text/plain")


def test_a_file_that_is_not_there_or_has_no_run_to_go_to_is_a_wrong_call(executus):
    code, _, err = executus("run", "--file", "nope.txt", "hello")
    assert code == 2
    assert "nope.txt" in err
    code, _, err = executus("run", "--id", "run-1", "--file", __file__)
    assert code == 2
    assert "--file needs a PROMPT" in err
