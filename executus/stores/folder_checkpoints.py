"""FolderCheckpoints: one JSON file a run, replaced whole."""

import asyncio
import os
import tempfile
from pathlib import Path

from executus.checkpoint import Checkpoint
from executus.digest import digest
from executus.errors import StoreError
from executus.sanitize import clean_line

SUFFIX = ".json"
MAX_ID = 160
"""Characters of a run id in a message."""


class FolderCheckpoints:
    """The shipped Checkpointer. Safe for several workers of one machine.

    A file is written beside its place, synced and renamed over it, so a crash leaves the old copy
    or the new one. Files are named by the digest of the run id: a run id may be any text.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def save(self, checkpoint: Checkpoint) -> None:
        """Keep the newest state of a run; an older one that arrives late changes nothing.

        A file that does not read is replaced: it must not stand in the way for ever.

        Raises:
            StoreError: the folder cannot be written.
        """
        try:
            await asyncio.to_thread(self._save, checkpoint)
        except OSError as error:
            raise StoreError(
                f"checkpoint of {clean_line(checkpoint.run_id, MAX_ID)}: {error.strerror}"
            ) from error

    async def load(self, run_id: str) -> Checkpoint | None:
        """The newest state; None when there is none.

        Raises:
            StoreError: the file cannot be read, or is none of ours.
        """
        try:
            return await asyncio.to_thread(self._load, run_id)
        except OSError as error:
            raise StoreError(
                f"checkpoint of {clean_line(run_id, MAX_ID)}: {error.strerror}"
            ) from error

    def _path(self, run_id: str) -> Path:
        return self._folder / (digest(run_id.encode()) + SUFFIX)

    def _save(self, checkpoint: Checkpoint) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            kept = self._load(checkpoint.run_id)
        except StoreError:
            kept = None
        if kept is not None and _age(kept) > _age(checkpoint):
            return
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(checkpoint.model_dump_json().encode())
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path(checkpoint.run_id))
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def _load(self, run_id: str) -> Checkpoint | None:
        path = self._path(run_id)
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return Checkpoint.model_validate_json(text)
        except ValueError as error:  # whose text quotes what stands there: a conversation
            kind = type(error).__name__
            raise StoreError(
                f"checkpoint of {clean_line(run_id, MAX_ID)}: not readable ({kind}): {path} is "
                "damaged or of another version; the run's next copy replaces it"
            ) from None


def _age(checkpoint: Checkpoint) -> tuple[float, int, bool]:
    return (checkpoint.at.timestamp(), checkpoint.iteration, checkpoint.status != "running")
