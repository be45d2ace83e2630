"""`executus files`: show, fetch and forget what runs keep beside their conversation."""

import asyncio
import sys
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, TypeVar

import click

from executus.cli.records import database_option, open_database
from executus.cli.span import SPAN
from executus.cli.text import ID, LINE, NAME
from executus.errors import ConfigError, UnknownFile
from executus.files import MAX_FILE_NAME, unique_names
from executus.sanitize import clean_line, json_text
from executus.settings import load_settings
from executus.stores.file_store import FileStore, KeptFile, KeptRun, Purged, open_files
from executus.stores.sql_audit import SqlAudit

MAX_ID = 255

T = TypeVar("T")

place_option = click.option(
    "--files",
    "place",
    metavar="PLACE",
    type=LINE,
    envvar="EXECUTUS_FILES_URL",
    help="A folder or s3://bucket/prefix; default: `files` in EXECUTUS_DATA_DIR.",
)


@click.group()
def files() -> None:
    """Show, fetch and forget files of runs.

    Attached files, whole tool results that were too long for the conversation, and what tools
    made. A sub-agent's files are kept under the run at the top of its family.
    """


@files.command("list")
@click.argument("run", required=False, type=ID)
@click.option("--json", "as_json", is_flag=True, help="Each as one line of JSON.")
@place_option
def list_files(*, run: str | None, as_json: bool, place: str | None) -> None:
    """List the files of RUN, or all runs that have files."""
    if run is None:
        runs = _with_store(place, FileStore.runs)
        for known in runs:
            click.echo(_run_json(known) if as_json else _run_line(known))
        if not runs:
            click.echo("no run has files", err=True)
        return
    for kept in _with_store(place, lambda store: _files_of(store, run)):
        click.echo(kept.model_dump_json() if as_json else _file_line(kept))


@files.command()
@click.argument("run", type=ID)
@click.argument("ids", metavar="[ID]...", nargs=-1, type=NAME)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="File to write one file to; default: stdout.",
)
@click.option(
    "--into",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write them to under their own names; all of RUN's without ID.",
)
@place_option
def get(
    *, run: str, ids: tuple[str, ...], output: Path | None, folder: Path | None, place: str | None
) -> None:
    """Fetch one file of RUN, or several into a folder.

    Nothing in the folder is written over. Two files of one name become `a.txt` and `a-2.txt`.
    """
    if folder is not None and output is not None:
        raise ConfigError("give either -o (one file) or --into (a folder)")
    if folder is None and len(ids) != 1:
        text = f"name one ID (`executus files list {run}` shows them), or a folder for all: --into"
        raise ConfigError(text)
    if folder is not None:
        for path in _with_store(place, lambda store: _save(store, run, ids, folder)):
            click.echo(str(path))
        return

    async def work(store: FileStore) -> bytes:
        (kept,) = await _chosen(store, run, ids)
        return await store.get(kept.scope, kept.ref.id)

    data = _with_store(place, work)
    if output is not None:
        _write(output, data, "wb")
        return
    if sys.stdout.isatty() and not _harmless(data):
        text = "would do things to this terminal that are not to be seen: use -o FILE"
        raise ConfigError(f"file `{ids[0]}` {text}")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@files.command()
@click.option("--older-than", required=True, type=SPAN, help="Such as 90d, 12h, 30m.")
@place_option
@database_option
def purge(*, older_than: timedelta, place: str | None, database: str | None) -> None:
    """Remove the files of runs whose newest file is older; runs that are open stay.

    Whether a run is open, the audit says.
    """
    cut = datetime.now(UTC) - older_than

    async def work(store: FileStore) -> Purged:
        records = open_database(database)
        audit = SqlAudit(records)

        async def is_open(run_id: str) -> bool:
            record = await audit.run(run_id)
            return record is not None and record.status is None

        try:
            return await store.purge(cut, keep=is_open)
        finally:
            await records.close()

    done = _with_store(place, work)
    kept = f"; kept those of {done.kept} open runs" if done.kept else ""
    click.echo(f"removed {done.files} files of {done.runs} runs, none newer than {cut:%F %T}{kept}")


async def _files_of(store: FileStore, run: str) -> list[KeptFile]:
    found = await store.of_run(run)
    if not found:
        raise UnknownFile(f"no files of run `{run}`; `executus files list` shows who has some")
    return found


async def _chosen(store: FileStore, run: str, ids: Sequence[str]) -> list[KeptFile]:
    """The files of the run that are named, in that order; all of them when none is."""
    found = {kept.ref.id: kept for kept in await _files_of(store, run)}
    if unknown := next((name for name in ids if name not in found), None):
        raise UnknownFile(
            f"run `{run}` has no file `{clean_line(unknown, 64)}`; `executus files list {run}`"
        )
    return [found[name] for name in dict.fromkeys(ids)] or list(found.values())


async def _save(store: FileStore, run: str, ids: Sequence[str], folder: Path) -> list[Path]:
    """Write them into the folder; the names are safe there, whatever the store's records say."""
    chosen = await _chosen(store, run, ids)
    paths = [folder / name for name in unique_names(kept.ref.name for kept in chosen)]
    if there := next((path for path in paths if path.exists()), None):
        raise ConfigError(f"{there} is there already: choose another folder, or move it away")
    for kept, path in zip(chosen, paths, strict=True):
        data = await store.get(kept.scope, kept.ref.id)
        _write(path, data, "xb")
    return paths


def _write(path: Path, data: bytes, mode: Literal["wb", "xb"]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode) as file:
            file.write(data)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None


def _harmless(data: bytes) -> bool:
    """Whether it is text without sequences that a terminal obeys."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return all(c in "\n\t\r" or unicodedata.category(c) != "Cc" for c in text)


def _with_store(place: str | None, work: Callable[[FileStore], Awaitable[T]]) -> T:
    """Run `work` over the store that is named, or the one that the settings say."""
    place = place if place is not None else load_settings().files
    if place is None or place == "off":
        raise ConfigError("files are not kept: EXECUTUS_FILES_URL is `off`; name a place: --files")

    async def run(where: str) -> T:
        store = open_files(where)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run(place))


def _run_line(kept: KeptRun) -> str:
    name = clean_line(kept.run_id, MAX_ID) or "(no record)"
    return f"{kept.newest:%F %T}  {name}  {kept.files} files, {kept.bytes:,} bytes"


def _run_json(kept: KeptRun) -> str:
    return json_text(kept._asdict() | {"newest": kept.newest.isoformat()})


def _file_line(kept: KeptFile) -> str:
    ref = kept.ref
    name = clean_line(ref.name, MAX_FILE_NAME)
    return f"{kept.put_at:%F %T}  {ref.id}  {ref.bytes:>12,}  {clean_line(ref.mime, 100)}  {name}"
