"""FileStore: the `Files` port over a folder or an object store, and what operators do with it.

Layout: `<run>/<owner>/<file id>.data` and `.json`, each a digest. The content is written first, so
a file is there exactly when its `.json` is. An id is looked for below the asking scope's own
folder only: that is what keeps one caller's run from another's files.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from executus.data import Data
from executus.digest import digest
from executus.errors import ConfigError, FileRefused, StoreError, UnknownFile
from executus.files import FILE_ID, FileRef, FileScope, file_ref, size_problem
from executus.sanitize import clean_line, json_text
from executus.stores.blobs import BlobInfo, Blobs, FolderBlobs, NoBlob

OBJECT_SCHEMES = ("s3", "gs", "az")
READERS = 16
"""Records read at the same time when many are listed."""
DATA, RECORD = ".data", ".json"

T = TypeVar("T")


class KeptFile(Data):
    """A file's record."""

    ref: FileRef
    """The file."""
    scope: FileScope
    """Whose it is."""
    put_at: datetime
    """When it was first kept (UTC)."""


class KeptRun(NamedTuple):
    """A run that has files."""

    run_id: str
    """The run; empty where no record of it can be read."""
    files: int
    """How many."""
    bytes: int
    """Their sizes."""
    newest: datetime
    """When the last one came (UTC)."""


class Purged(NamedTuple):
    """Outcome of a purge."""

    runs: int
    """Runs whose files were removed."""
    files: int
    """Files removed."""
    kept: int
    """Runs old enough that were to be kept."""


class FileStore:
    """Files of all runs of a host."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def __repr__(self) -> str:
        return f"FileStore({self._blobs!r})"

    # -- the port ------------------------------------------------------------------------------

    async def put(self, scope: FileScope, name: str, mime: str, data: bytes) -> FileRef:
        """See `Files.put`."""
        problem = size_problem(len(data))
        if problem is not None:
            raise FileRefused(f"a file of {len(data):,} bytes: {problem}")
        ref = await asyncio.to_thread(file_ref, name, mime, data)
        if await self.stat(scope, ref.id) is not None:
            return ref
        record = KeptFile(ref=ref, scope=scope, put_at=datetime.now(UTC))
        place = _place(scope, ref.id)
        await self._blobs.write(place + DATA, data)
        await self._blobs.write(place + RECORD, record.model_dump_json().encode())
        return ref

    async def get(
        self, scope: FileScope, file_id: str, start: int = 0, length: int | None = None
    ) -> bytes:
        """See `Files.get`; a whole file is checked against its digest.

        Raises:
            StoreError: the content is not what was put.
        """
        ref = await self.stat(scope, file_id)
        if ref is None:
            raise UnknownFile(f"no file {clean_line(file_id, 64)!r} among those of this run")
        start = max(0, start)
        end = ref.bytes if length is None else min(ref.bytes, start + max(0, length))
        if start >= end:
            return b""
        try:
            data = await self._blobs.read(_place(scope, file_id) + DATA, start, end - start)
        except NoBlob:
            raise StoreError(f"file {file_id}: its content is gone") from None
        whole = len(data) == ref.bytes
        damaged = whole and await asyncio.to_thread(digest, data) != ref.digest
        if damaged or len(data) != end - start:
            raise StoreError(f"file {file_id}: its content is not what was put")
        return data

    async def stat(self, scope: FileScope, file_id: str) -> FileRef | None:
        """See `Files.stat`."""
        if not FILE_ID.fullmatch(file_id):
            return None
        kept = await self._record(_place(scope, file_id) + RECORD)
        return kept.ref if kept is not None else None

    async def files(self, scope: FileScope) -> list[FileRef]:
        """See `Files.files`."""
        records = await self._records(await self._blobs.ls(_owner_folder(scope)))
        return sorted((kept.ref for kept in records), key=lambda ref: (ref.name, ref.id))

    async def close(self) -> None:
        """Release what the place holds."""
        await self._blobs.close()

    # -- for operators -------------------------------------------------------------------------

    async def runs(self) -> list[KeptRun]:
        """Every run that has files, the newest first."""
        groups = _by_run(await self._blobs.ls())
        found = await _all(self._kept_run(blobs) for blobs in groups.values())
        return sorted(found, key=lambda run: run.newest, reverse=True)

    async def of_run(self, run_id: str) -> list[KeptFile]:
        """Every file of a run, whoever asked for it, in the order they came."""
        records = await self._records(await self._blobs.ls(_run_folder(run_id)))
        return sorted(records, key=lambda kept: (kept.put_at, kept.ref.name))

    async def remove(self, run_id: str) -> int:
        """Remove every file of a run; how many there were."""
        count = len(await self.of_run(run_id))
        await self._blobs.clear(_run_folder(run_id))
        return count

    async def purge(
        self, before: datetime, keep: Callable[[str], Awaitable[bool]] | None = None
    ) -> Purged:
        """Remove the files of runs that got none since `before`, except of those to `keep`."""
        runs = files = kept = 0
        for folder, blobs in _by_run(await self._blobs.ls()).items():
            if max(blob.modified for blob in blobs) >= before:
                continue
            run = await self._kept_run(blobs)
            if keep is not None and run.run_id and await keep(run.run_id):
                kept += 1
                continue
            await self._blobs.clear(folder)
            runs, files = runs + 1, files + run.files
        return Purged(runs, files, kept)

    # -- records -------------------------------------------------------------------------------

    async def _record(self, key: str) -> KeptFile | None:
        try:
            text = await self._blobs.read(key)
        except NoBlob:
            return None
        try:
            return KeptFile.model_validate_json(text)
        except ValidationError:
            raise StoreError(f"the record of file {Path(key).stem} does not read") from None

    async def _records(self, blobs: Sequence[BlobInfo]) -> list[KeptFile]:
        keys = [blob.key for blob in blobs if blob.key.endswith(RECORD)]
        found = await _all(self._record(key) for key in keys)
        return [kept for kept in found if kept is not None]

    async def _kept_run(self, blobs: Sequence[BlobInfo]) -> KeptRun:
        contents = [blob.bytes for blob in blobs if blob.key.endswith(DATA)]
        records = [blob for blob in blobs if blob.key.endswith(RECORD)]
        known = await self._records(records[:1])
        run_id = known[0].scope.run_id if known else ""
        newest = max(blob.modified for blob in blobs)
        return KeptRun(run_id, len(records), sum(contents), newest)


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    """Wait for all of it, a few at a time."""
    places = asyncio.Semaphore(READERS)

    async def one(item: Awaitable[T]) -> T:
        async with places:
            return await item

    return list(await asyncio.gather(*map(one, work)))


def open_files(place: str) -> FileStore:
    """The store at `place`: a folder, or `s3://bucket/prefix` (also `gs://`, `az://`).

    Raises:
        ConfigError: it is neither, or an extra is missing.
    """
    scheme, is_url, _ = place.partition("://")
    if not is_url:
        return FileStore(FolderBlobs(Path(place)))
    if scheme == "file":
        return FileStore(FolderBlobs(Path(unquote(urlsplit(place).path))))
    if scheme in OBJECT_SCHEMES:
        from executus.stores.object_blobs import ObjectBlobs  # noqa: PLC0415 - needs its extra

        return FileStore(ObjectBlobs(place))
    known = ", ".join(f"{name}://" for name in ("file", *OBJECT_SCHEMES))
    msg = f"files in `{scheme}://`: no such kind of place; give a folder, or one of {known}"
    raise ConfigError(msg)


def _run_folder(run_id: str) -> str:
    return digest(run_id.encode("utf-8", "surrogatepass"))


def _owner_folder(scope: FileScope) -> str:
    owner = json_text([scope.tenant_id, scope.caller_id])
    return f"{_run_folder(scope.run_id)}/{digest(owner.encode())}"


def _place(scope: FileScope, file_id: str) -> str:
    return f"{_owner_folder(scope)}/{file_id}"


def _by_run(blobs: Sequence[BlobInfo]) -> dict[str, list[BlobInfo]]:
    groups: defaultdict[str, list[BlobInfo]] = defaultdict(list)
    for blob in blobs:
        folder = blob.key.partition("/")[0]
        if FILE_ID.fullmatch(folder):  # what else lies there is not ours, least of all to purge
            groups[folder].append(blob)
    return groups
