"""Read-only access to one folder and nothing outside of it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from executus.sanitize import clean_line
from executus.tools import ToolError

MAX_FILES = 1_000
"""Files listed or searched."""
MAX_BYTES = 2_000_000
"""Bytes read of one file."""


class FileEntry(NamedTuple):
    """A file of the folder."""

    path: str
    """Relative to the folder, with slashes."""
    bytes: int
    """Size."""


class FileText(NamedTuple):
    """What a file holds."""

    text: str
    """Decoded; what is not UTF-8 becomes U+FFFD."""
    complete: bool
    """False when the file is longer than what is read of one."""


class Folder:
    """One folder. Dot files do not exist in it: they hold settings and keys."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def files(self) -> Iterator[FileEntry]:
        """Its regular files in order of path, the first 1,000. Links are not followed."""
        found = 0
        for folder, folders, names in os.walk(self._root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(name for name in names if not name.startswith(".")):
                path = Path(folder, name)
                info = path.lstat()
                if not stat.S_ISREG(info.st_mode):
                    continue
                found += 1
                if found > MAX_FILES:
                    return
                yield FileEntry(path.relative_to(self._root).as_posix(), info.st_size)

    def read(self, path: str) -> FileText:
        """The text of the file at `path`.

        Raises:
            ToolError: when it is outside the folder, missing, not a plain file, or not text.
        """
        target = self._inside(path)
        try:
            # Checked before it is opened: opening a pipe would wait for ever.
            if not stat.S_ISREG(target.stat().st_mode):
                raise ToolError(f"{_shown(path)} is not a file; list_files shows the files")
            with target.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise ToolError(f"no file {_shown(path)}; list_files shows the files") from None
        except OSError as exc:
            raise ToolError(f"cannot read {_shown(path)}: {exc.strerror}") from None
        if b"\x00" in data:
            raise ToolError(f"{_shown(path)} is not a text file")
        return FileText(data[:MAX_BYTES].decode("utf-8-sig", "replace"), len(data) <= MAX_BYTES)

    def _inside(self, path: str) -> Path:
        """The real place of `path`. Links are followed first: one may lead out of the folder."""
        try:
            target = (self._root / path).resolve()
        except (OSError, RuntimeError, ValueError):  # a name too long, a ring of links, a NUL
            raise ToolError(f"no file {_shown(path)}; list_files shows the files") from None
        inside = target.is_relative_to(self._root)
        if not inside or any(p.startswith(".") for p in target.relative_to(self._root).parts):
            raise ToolError(f"{_shown(path)} is not in the folder; list_files shows the files")
        return target


def _shown(path: str) -> str:
    return f'"{clean_line(path, 120)}"'
