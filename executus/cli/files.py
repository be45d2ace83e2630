"""`executus files`: show, fetch and forget what runs keep beside their conversation."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import click

from executus.cli.records import database_option, open_database
from executus.cli.span import SPAN
from executus.errors import ConfigError, UnknownFile
from executus.sanitize import clean_line
from executus.settings import load_settings
from executus.stores.file_store import FileStore, KeptFile, KeptRun, Purged, open_files
from executus.stores.sql_audit import SqlAudit

MAX_ID = 255

T = TypeVar("T")

place_option = click.option(
    "--files",
    "place",
    metavar="PLACE",
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
@click.argument("run", required=False)
@place_option
def list_files(*, run: str | None, place: str | None) -> None:
    """List the files of RUN, or all runs that have files."""
    if run is None:
        for known in _with_store(place, FileStore.runs):
            click.echo(_run_line(known))
        return
    for kept in _with_store(place, lambda store: _files_of(store, run)):
        ref = kept.ref
        click.echo(f"{kept.put_at:%F %T}  {ref.id}  {ref.bytes:>12,}  {ref.mime}  {ref.name}")


@files.command()
@click.argument("run")
@click.argument("file_id", metavar="ID")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="File to write; default: stdout.",
)
@place_option
def get(*, run: str, file_id: str, output: Path | None, place: str | None) -> None:
    """Fetch one file of RUN."""

    async def work(store: FileStore) -> bytes:
        found = next((k for k in await _files_of(store, run) if k.ref.id == file_id), None)
        if found is None:
            raise UnknownFile(
                f"run `{run}` has no file `{clean_line(file_id, 64)}`; `executus files list {run}`"
            )
        return await store.get(found.scope, found.ref.id)

    data = _with_store(place, work)
    if output is not None:
        output.write_bytes(data)
        return
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
