"""Blobs: bytes by key, which is all that the file store asks of a place; and a folder as one.

Keys are made by the file store, of digests: no word of a caller or a model is ever part of a path.
"""

import asyncio
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from executus.errors import StoreError

FOLDER_MODE, FILE_MODE = 0o700, 0o600
"""For the owner only: what agents work on is nobody else's business on a shared machine."""

T = TypeVar("T")


class NoBlob(Exception):
    """There is nothing under this key."""


class BlobInfo(NamedTuple):
    """One key of a listing."""

    key: str
    """Parts joined by `/`."""
    bytes: int
    """Size."""
    modified: datetime
    """When it was written (UTC)."""


class Blobs(Protocol):
    """A place that keeps bytes. Trouble that may pass is a `StoreError`."""

    async def write(self, key: str, data: bytes) -> None:
        """Keep all of it or nothing, whatever dies meanwhile; over what was there."""
        ...

    async def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """A part of it.

        Raises:
            NoBlob: nothing is there.
        """
        ...

    async def ls(self, prefix: str = "") -> list[BlobInfo]:
        """Everything below a folder of keys; empty = everything."""
        ...

    async def clear(self, prefix: str) -> None:
        """Remove everything below a folder of keys."""
        ...

    async def close(self) -> None:
        """Release what is held."""
        ...


class FolderBlobs:
    """Blobs as files below one folder. Each call is one hop to a thread."""

    def __init__(self, root: Path) -> None:
        """The folder is made with the first file."""
        self.root = root.absolute()

    def __repr__(self) -> str:
        return f"FolderBlobs({str(self.root)!r})"

    async def write(self, key: str, data: bytes) -> None:
        """See `Blobs.write`."""
        await self._do(lambda: self._write(self.root / key, data))

    async def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See `Blobs.read`."""
        return await self._do(lambda: self._read(self.root / key, start, length))

    async def ls(self, prefix: str = "") -> list[BlobInfo]:
        """See `Blobs.ls`."""
        return await self._do(lambda: list(self._walk(self.root / prefix)))

    async def clear(self, prefix: str) -> None:
        """See `Blobs.clear`."""

        def remove() -> None:
            if (self.root / prefix).is_dir():
                shutil.rmtree(self.root / prefix)

        await self._do(remove)

    async def close(self) -> None:
        """Nothing is held."""

    @staticmethod
    async def _do(work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise StoreError(f"the folder of files: {error.strerror or error}") from None

    def _write(self, path: Path, data: bytes) -> None:
        """Beside its place, synced, then moved there: a reader sees all of it or nothing."""
        folders = self._folders(path)
        beside = path.parent / f".{uuid.uuid4().hex}"
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        for folder in folders:  # one that was just made is an entry in its parent
            _sync(folder)

    def _folders(self, path: Path) -> list[Path]:
        """The folders from `path` up to the root; made where they are not there."""
        self.root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        below = path.relative_to(self.root).parents
        folders = [self.root / part for part in below]
        for folder in reversed(folders):
            folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        return folders

    @staticmethod
    def _read(path: Path, start: int, length: int | None) -> bytes:
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read() if length is None else file.read(length)
        except FileNotFoundError:
            raise NoBlob from None

    def _walk(self, folder: Path) -> Iterator[BlobInfo]:
        for path in sorted(folder.rglob("*")):
            try:
                about = path.stat()
            except FileNotFoundError:  # removed meanwhile
                continue
            if path.is_file():
                modified = datetime.fromtimestamp(about.st_mtime, UTC)
                yield BlobInfo(path.relative_to(self.root).as_posix(), about.st_size, modified)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
