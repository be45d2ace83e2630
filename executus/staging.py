"""Stage attached files: bring them into the run's store before the conversation opens.

The client does it where it has the store, so that no content enters Temporal's history; otherwise
a worker does, from the request. Neither fails the run: what cannot be kept is dropped, with words.
"""

from collections.abc import Sequence
from typing import NamedTuple

from executus.errors import StoreError
from executus.files import (
    DroppedFile,
    FileRef,
    FileScope,
    safe_mime,
    safe_name,
    size_problem,
    unique_names,
)
from executus.message import MAX_BLOB, FilePart, InputFile
from executus.ports import Files
from executus.sanitize import clean_line

MAX_WHY = 300
NO_STORE = "this run has no file store, and it is larger than {limit:,} bytes"
NOT_HERE = "it is not in the file store of this run"


class Staged(NamedTuple):
    """What became of the files."""

    kept: tuple[FileRef, ...]
    """In the store; names differ."""
    dropped: tuple[DroppedFile, ...]
    """The rest."""


async def stage(
    store: Files, scope: FileScope, files: Sequence[InputFile | FileRef], *, give_up: bool = True
) -> Staged:
    """Put every file, and look up those that are there already.

    Args:
        store: Where.
        scope: Whose.
        files: In the order the model is to see them.
        give_up: Drop what the store fails to take; otherwise fail, to be tried again.

    Raises:
        StoreError: the store failed, and `give_up` is not set.
    """
    kept, dropped = list[FileRef](), list[DroppedFile]()
    for file, name in zip(files, unique_names(file.name for file in files), strict=True):
        try:
            done = await _one(store, scope, file, name)
        except StoreError as error:
            if not give_up:
                raise
            done = _dropped(file, f"the file store failed: {error}")
        except Exception as error:  # noqa: BLE001 - the host's own store: whatever it raises
            done = _dropped(file, f"the file store raised {type(error).__name__}")
        (kept if isinstance(done, FileRef) else dropped).append(done)  # type: ignore[arg-type]
    return Staged(tuple(kept), tuple(dropped))


def fold(
    files: Sequence[InputFile | FileRef],
) -> tuple[tuple[FilePart, ...], tuple[DroppedFile, ...]]:
    """The files as parts of a message, for a run without a store; and what cannot be one."""
    parts, dropped = list[FilePart](), list[DroppedFile]()
    for file, name in zip(files, unique_names(file.name for file in files), strict=True):
        if isinstance(file, FileRef):
            dropped.append(_dropped(file, NOT_HERE))
        elif not file.data:
            dropped.append(_dropped(file, size_problem(0) or ""))
        elif len(file.data) > MAX_BLOB:
            dropped.append(_dropped(file, NO_STORE.format(limit=MAX_BLOB)))
        else:
            parts.append(FilePart(name=name, mime=safe_mime(file.mime), data=file.data))
    return tuple(parts), tuple(dropped)


def drop_all(files: Sequence[InputFile | FileRef], why: str) -> Staged:
    """All of them dropped for one reason."""
    return Staged((), tuple(_dropped(file, why) for file in files))


async def _one(
    store: Files, scope: FileScope, file: InputFile | FileRef, name: str
) -> FileRef | DroppedFile:
    if isinstance(file, FileRef):
        # What the store knows of it counts, not what the request says.
        return await store.stat(scope, file.id) or _dropped(file, NOT_HERE)
    problem = size_problem(len(file.data))
    if problem is not None:
        return _dropped(file, problem)
    return await store.put(scope, name, file.mime, file.data)


def _dropped(file: InputFile | FileRef, why: str) -> DroppedFile:
    size = file.bytes if isinstance(file, FileRef) else len(file.data)
    return DroppedFile(name=safe_name(file.name), bytes=size, why=clean_line(why, MAX_WHY))
