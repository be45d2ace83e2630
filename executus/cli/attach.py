"""Files of the command line as a run takes them: images to look at, other files to read."""

import mimetypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from executus.errors import ConfigError
from executus.files import MAX_FILE_BYTES, DroppedFile, safe_name, size_problem
from executus.images import image_type
from executus.message import MAX_BLOB, ImagePart, InputFile

MAX_FILES = 32
"""What an invocation takes, of each kind."""


class Attachments(NamedTuple):
    """What `--file` names."""

    images: tuple[ImagePart, ...] = ()
    """Small enough to be shown."""
    files: tuple[InputFile, ...] = ()
    """The rest."""
    dropped: tuple[DroppedFile, ...] = ()
    """Too large to be read at all."""


def read_attachments(paths: Sequence[Path]) -> Attachments:
    """Read the files.

    Raises:
        ConfigError: one does not read, or there are too many.
    """
    images, files, dropped = list[ImagePart](), list[InputFile](), list[DroppedFile]()
    for path in paths:
        data, size = _read(path)
        kind = image_type(data)
        if (why := size_problem(size)) is not None and data:
            dropped.append(DroppedFile(name=safe_name(path.name), bytes=size, why=why))
        elif kind is not None and len(data) <= MAX_BLOB:
            images.append(ImagePart(mime=kind, data=data))
        else:
            mime = mimetypes.guess_type(path.name)[0] or ""
            files.append(InputFile(name=path.name, mime=mime, data=data))
    if max(len(images), len(files) + len(dropped)) > MAX_FILES:
        raise ConfigError(f"--file: a run takes at most {MAX_FILES} files and {MAX_FILES} images")
    return Attachments(tuple(images), tuple(files), tuple(dropped))


def _read(path: Path) -> tuple[bytes, int]:
    """The content, of one that is too large only a part; and the size."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
            return data, max(len(data), os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise ConfigError(f"--file {path}: {error.strerror}") from None
