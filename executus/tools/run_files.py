"""RunFiles: the files of one run, as its tools see them."""

from collections.abc import Awaitable, Sequence
from typing import TypeVar

from executus.errors import FileRefused, StoreError, ToolError, ToolRetry, UnknownFile
from executus.files import FileRef, FileScope
from executus.ports import Files
from executus.sanitize import clean_line

MAX_PUT = 32
"""Files that one call may put: each is named in its output, and so in history."""
MAX_LISTED = 20
"""Files named in an error."""
MAX_WHY = 300

T = TypeVar("T")


class RunFiles:
    """Reads and puts files of one run; ids of other runs and callers are unknown to it.

    Trouble comes out as `ToolError` and `ToolRetry`, so a tool need not catch anything.
    """

    def __init__(
        self,
        store: Files | None = None,
        scope: FileScope | None = None,
        also: Sequence[FileScope] = (),
    ) -> None:
        """Without a store every use says that there is none.

        What is `also` there can be read; what is put goes into `scope`.
        """
        self._store = store
        self._scope = scope
        self._also = tuple(also)
        self.made: list[FileRef] = []
        """What was put by this call."""

    def __repr__(self) -> str:
        return f"RunFiles({self._scope!r})"

    @property
    def wired(self) -> bool:
        """Whether this run has a file store."""
        return self._store is not None and self._scope is not None

    async def read(self, file_id: str, start: int = 0, length: int | None = None) -> bytes:
        """The file, or at most `length` bytes of it from `start` on.

        Raises:
            ToolError: the run has no such file.
            ToolRetry: the store could not be read.
        """
        store, scope = self._wired()
        for place in (scope, *self._also):
            try:
                return await _plain(store.get(place, file_id, start, length))
            except UnknownFile:
                continue
        raise await self._unknown(file_id)

    async def stat(self, file_id: str) -> FileRef:
        """Name, type and size of a file.

        Raises:
            ToolError: the run has no such file.
            ToolRetry: the store could not be read.
        """
        store, scope = self._wired()
        for place in (scope, *self._also):
            found = await _plain(store.stat(place, file_id))
            if found is not None:
                return found
        raise await self._unknown(file_id)

    async def all(self) -> list[FileRef]:
        """All files of the run: attached ones, whole results, what tools put.

        Raises:
            ToolRetry: the store could not be read.
        """
        store, scope = self._wired()
        found = [await _plain(store.files(place)) for place in (scope, *self._also)]
        return list(dict.fromkeys(ref for refs in found for ref in refs))

    async def put(self, name: str, mime: str, data: bytes) -> FileRef:
        """Keep a file; it is listed in the run's result. Tell the model its id.

        Raises:
            ToolError: it is empty or larger than 50,000,000 bytes, or the call has put too many.
            ToolRetry: the store could not take it.
        """
        store, scope = self._wired()
        if len(self.made) >= MAX_PUT:
            raise ToolError(f"a call may put at most {MAX_PUT} files; put fewer, or an archive")
        try:
            ref = await _plain(store.put(scope, name, mime, data))
        except FileRefused as error:
            raise ToolError(str(error)) from None
        if ref not in self.made:
            self.made.append(ref)
        return ref

    async def keep_whole(self, name: str, mime: str, data: bytes) -> FileRef:
        """Keep a result that is too long for the conversation; no file of the tool's own.

        Raises:
            ToolError: as `put`.
        """
        store, scope = self._wired()
        return await _plain(store.put(scope, name, mime, data))

    def _wired(self) -> tuple[Files, FileScope]:
        if self._store is None or self._scope is None:
            raise ToolError("this run has no file store: the host must wire Ports(files=...)")
        return self._store, self._scope

    async def _unknown(self, file_id: str) -> ToolError:
        known = [f"{ref.id} ({ref.name})" for ref in await self.all()]
        more = f" and {len(known) - MAX_LISTED} more" if len(known) > MAX_LISTED else ""
        listed = ", ".join(known[:MAX_LISTED]) or "none"
        text = f"no file {clean_line(file_id, 64)!r} in this run; its files: {listed}{more}"
        return ToolError(text)


async def _plain(work: Awaitable[T]) -> T:
    """The store's answer; its trouble in words for the model."""
    try:
        return await work
    except StoreError as error:
        raise ToolRetry(f"the file store: {clean_line(str(error), MAX_WHY)}") from None
