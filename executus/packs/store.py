"""PackStore: copies of packs by their digest, so that what was pinned is still there tomorrow.

A copy is made in a folder of its own and then renamed into place. Nobody trusts it for its name: it
is read as any stranger's folder and counts only when its digest is the one that was asked for.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from executus.errors import ConfigError
from executus.folder import make_folder
from executus.packs.content import content_digest, read_content


class PackStore:
    """A folder of copies, each named by its digest."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Where the copy of that digest is, or would be."""
        return self.root / digest

    def keep(self, files: Mapping[str, bytes]) -> str:
        """Keep a copy of `files`; their digest.

        Raises:
            ConfigError: the folder cannot be written.
        """
        digest = content_digest(files)
        if self.load(digest) is not None:
            return digest
        try:
            self._write(digest, files)
        except OSError as error:
            msg = f"{self.root}: {error.strerror}; set EXECUTUS_DATA_DIR to a folder of yours"
            raise ConfigError(msg) from None
        return digest

    def load(self, digest: str) -> dict[str, bytes] | None:
        """The files of that digest; None when they are not here, or no longer what they were."""
        folder = self.path(digest)
        if not folder.is_dir():
            return None
        try:
            files = read_content(folder).files
        except ConfigError:
            return None
        return files if content_digest(files) == digest else None

    def _write(self, digest: str, files: Mapping[str, bytes]) -> None:
        make_folder(self.root)
        staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=self.root))
        try:
            for path, data in files.items():
                target = staging.joinpath(*path.split("/"))
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    file.write(data)
            staging.chmod(0o755)  # mkdtemp's own is for its maker only; a worker may be another
            shutil.rmtree(self.path(digest), ignore_errors=True)  # a copy that was tampered with
            os.replace(staging, self.path(digest))  # noqa: PTH105 - of a folder
        finally:
            shutil.rmtree(staging, ignore_errors=True)
