"""Delivery to stdout and to files, and the choice between kinds."""

import asyncio
import io
import json
import os
import sys
from pathlib import Path

import pytest

from executus.delivery import Deliveries, FileDelivery, Stdout
from executus.delivery_target import DeliveryTarget
from executus.errors import DeliveryError

from .kit import item


def lines(path: Path) -> list[str]:
    return [json.loads(line)["data"]["run_id"] for line in path.read_text().splitlines()]


async def test_stdout_gets_one_line_of_json(capsys):
    sent = item("stdout", output="two\nlines")
    receipt = await Stdout().deliver(sent)
    out = capsys.readouterr().out
    assert out.encode() == sent.body + b"\n"
    assert (receipt.id, receipt.target) == (sent.id, "stdout")


async def test_a_closed_stdout_may_get_better(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    with pytest.raises(DeliveryError, match="stdout:") as raised:
        await Stdout().deliver(item("stdout"))
    assert not raised.value.permanent


async def test_a_run_gets_a_file_of_its_own_and_the_same_again_changes_nothing(tmp_path):
    files, sent = FileDelivery(tmp_path / "new" / "folder"), item("file")
    for _ in range(2):
        await files.deliver(sent)
    [path] = (tmp_path / "new" / "folder").iterdir()
    assert path.name == "run-1.json"
    assert path.read_bytes() == sent.body + b"\n"
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("run_id", ["../../etc/x", "/abs", "..", ".hidden", "a/b", "ü", "x" * 255])
async def test_no_run_id_leads_out_of_the_folder(tmp_path, run_id):
    folder = tmp_path / "in"
    await FileDelivery(folder).deliver(item("file", run_id=run_id))
    assert [path.parent for path in tmp_path.rglob("*.json")] == [folder]
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


async def test_run_ids_that_look_alike_get_files_of_their_own(tmp_path):
    for run_id in ("a/b", "a_b", "a\\b"):
        await FileDelivery(tmp_path).deliver(item("file", run_id=run_id))
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    "address", ["../x.jsonl", "/x.jsonl", "a/b.jsonl", ".x.jsonl", "x.json", "x", "x.jsonl/"]
)
async def test_an_address_is_a_plain_name_of_a_file_of_lines(tmp_path, address):
    files = FileDelivery(tmp_path)
    assert files.problem(DeliveryTarget(kind="file", address=address)) is not None
    with pytest.raises(DeliveryError, match=r"\.jsonl") as raised:
        await files.deliver(item("file", address))
    assert raised.value.permanent
    assert list(tmp_path.iterdir()) == []


async def test_many_writers_add_whole_lines_and_a_retry_adds_none(tmp_path):
    items = [item("file", "all.jsonl", run_id=f"r{n}", output="x" * 20_000) for n in range(20)]
    files = FileDelivery(tmp_path)
    await asyncio.gather(*(files.deliver(sent) for sent in items * 2))
    assert sorted(lines(tmp_path / "all.jsonl")) == sorted(f"r{n}" for n in range(20))


async def test_a_line_that_a_crash_tore_spoils_no_other(tmp_path):
    path = tmp_path / "all.jsonl"
    path.write_bytes(b'{"torn":')
    await FileDelivery(tmp_path).deliver(item("file", "all.jsonl"))
    torn, whole = path.read_text().splitlines()
    assert torn == '{"torn":'
    assert json.loads(whole)["data"]["run_id"] == "run-1"


async def test_a_link_is_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "all.jsonl").symlink_to(outside)
    (folder / "run-1.json").symlink_to(outside)
    files = FileDelivery(folder)
    with pytest.raises(DeliveryError, match="file:"):
        await files.deliver(item("file", "all.jsonl"))
    await files.deliver(item("file"))
    assert outside.read_text() == ""


async def test_a_folder_that_cannot_be_written_may_get_better(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DeliveryError) as raised:
        await FileDelivery(tmp_path / "taken").deliver(item("file"))
    assert not raised.value.permanent


async def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(DeliveryError, match="No space left"):
        await FileDelivery(tmp_path).deliver(item("file"))
    assert list(tmp_path.iterdir()) == []


async def test_an_unknown_kind_names_those_that_are_there(tmp_path):
    port = Deliveries({"stdout": Stdout(), "file": FileDelivery(tmp_path)})
    said = "unknown kind of delivery `pigeon`; this host has: file, stdout"
    assert port.problem(DeliveryTarget(kind="pigeon")) == said
    with pytest.raises(DeliveryError, match="unknown kind"):
        await port.deliver(item("pigeon"))
    assert "takes no address" in str(port.problem(DeliveryTarget(kind="stdout", address="x")))
    await port.deliver(item("file"))
    assert (tmp_path / "run-1.json").exists()
