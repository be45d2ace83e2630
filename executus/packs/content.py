"""A folder's content, read once and safely, and the digest that names it.

A pack is a stranger's folder. What is read here is what is judged, named, kept and later shown: all
of it stays in memory, so nothing can change between the look and the copy. No link is followed, no
device is opened, no name leaves the folder, and everything is bounded.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from executus.errors import ConfigError
from executus.sanitize import clean_line

MAX_FILES = 256
"""Files of one pack."""
MAX_FILE_BYTES = 1_000_000
"""Bytes of one file."""
MAX_BYTES = 8_000_000
"""Bytes of all files together; a worker keeps its packs in memory."""
MAX_PATH = 200
"""Characters of a file's path inside its pack."""
MAX_DEPTH = 8
"""Folders in each other."""
OPEN_FILE = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Not through a link; and not waiting for the other end of a pipe."""


class Content(NamedTuple):
    """The files of a folder."""

    files: dict[str, bytes]
    """Path with `/` -> bytes, in the order of their paths."""
    left_out: tuple[str, ...]
    """Hidden files and folders, which are no part of a pack."""

    @property
    def digest(self) -> str:
        """See `content_digest`."""
        return content_digest(self.files)


def content_digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over paths and bytes, all 256 bits: strangers choose the content.

    The same as `find . -type f | sed 's:^./::' | LC_ALL=C sort | xargs sha256sum | sha256sum`.
    """
    lines = (
        f"{hashlib.sha256(data).hexdigest()}  {path}\n"
        for path, data in sorted(files.items(), key=lambda item: item[0].encode())
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_content(folder: Path) -> Content:
    """Every file below `folder`.

    Raises:
        ConfigError: it is no folder, or holds what a pack may not: a link, a device, a name that
            is not safe everywhere, too much.
    """
    if not hasattr(os, "fwalk"):  # pragma: no cover - no such system among the tests
        raise ConfigError("packs need a system with openat (Linux, macOS): links could not be told")
    try:
        return _read(folder)
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else "."
        raise ConfigError(f"{folder}: {clean_line(name, MAX_PATH)}: {error.strerror}") from None


def _read(folder: Path) -> Content:
    if not stat.S_ISDIR(folder.stat().st_mode):
        raise ConfigError(f"{folder}: not a folder")
    files: dict[str, bytes] = {}
    hidden: list[str] = []
    taken: dict[str, str] = {}
    room = MAX_BYTES
    for prefix, name, handle in _walk(folder, hidden):
        path = f"{prefix}{name}"
        _check_name(folder, path, taken)
        if len(files) == MAX_FILES:
            raise ConfigError(f"{folder}: more than {MAX_FILES} files")
        data = _read_file(folder, path, name, handle)
        room -= len(data)
        if room < 0:
            raise ConfigError(f"{folder}: more than {MAX_BYTES:,} bytes in all")
        files[path] = data
    ordered = sorted(files, key=str.encode)
    return Content({path: files[path] for path in ordered}, tuple(sorted(hidden)))


def _walk(folder: Path, hidden: list[str]) -> Iterator[tuple[str, str, int]]:
    """Prefix, name and open folder of every entry that is no folder; fills `hidden`."""
    for root, folders, names, handle in os.fwalk(folder, onerror=_raise):
        inside = Path(root).relative_to(folder)
        prefix = "" if inside == Path() else f"{inside.as_posix()}/"
        if len(inside.parts) > MAX_DEPTH:
            raise ConfigError(f"{folder}: folders more than {MAX_DEPTH} deep")
        hidden += [f"{prefix}{name}" for name in (*folders, *names) if name.startswith(".")]
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            about = os.stat(name, dir_fd=handle, follow_symlinks=False)
            if stat.S_ISLNK(about.st_mode):
                raise ConfigError(f"{folder}: `{clean_line(prefix + name, MAX_PATH)}` is a link")
        yield from ((prefix, name, handle) for name in names if not name.startswith("."))


def _raise(error: OSError) -> None:
    """What `os.walk` would pass over in silence."""
    raise error


def _read_file(folder: Path, path: str, name: str, handle: int) -> bytes:
    """The bytes of one file, found by its open folder so that nobody can swap a link in."""
    mode = os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode
    if not stat.S_ISREG(mode):
        kind = "a link" if stat.S_ISLNK(mode) else "no regular file"
        raise ConfigError(f"{folder}: `{path}` is {kind}: a pack is its own files only")
    opened = os.open(name, OPEN_FILE, dir_fd=handle)
    with os.fdopen(opened, "rb") as file:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise ConfigError(f"{folder}: `{path}` changed while it was read")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{folder}: `{path}` has more than {MAX_FILE_BYTES:,} bytes")
    return data


def _check_name(folder: Path, path: str, taken: dict[str, str]) -> None:
    """Refuse names that a person, a prompt or another file system could take for others."""
    shown = clean_line(path, MAX_PATH)
    if path != shown or "\\" in path or ":" in path or "  " in path:
        raise ConfigError(
            f"{folder}: the name {shown!r} is not a plain one of {MAX_PATH} characters"
        )
    other = taken.setdefault(path.casefold(), path)
    if other != path:
        raise ConfigError(f"{folder}: `{other}` and `{path}` differ in case only")
