"""Files of the command line as a run takes them: images to look at, other files to read."""

import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from executus.errors import ConfigError
from executus.files import MAX_FILE_BYTES
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


def read_attachments(paths: Sequence[Path]) -> Attachments:
    """Read the files.

    Raises:
        ConfigError: one does not read, or there are too many.
    """
    images, files = list[ImagePart](), list[InputFile]()
    for path in paths:
        data = _read(path)
        kind = image_type(data)
        if kind is not None and len(data) <= MAX_BLOB:
            images.append(ImagePart(mime=kind, data=data))
        else:
            mime = mimetypes.guess_type(path.name)[0] or ""
            files.append(InputFile(name=path.name, mime=mime, data=data))
    if max(len(images), len(files)) > MAX_FILES:
        raise ConfigError(f"--file: a run takes at most {MAX_FILES} files and {MAX_FILES} images")
    return Attachments(tuple(images), tuple(files))


def _read(path: Path) -> bytes:
    """The content; of one that is too large, enough to see that it is."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"--file {path}: {error.strerror}") from None
