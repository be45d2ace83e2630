"""FileDelivery: the event as a file of its run, or as a line of a file, in one folder."""

import asyncio
import fcntl
import os
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from executus.delivery_target import DeliveryTarget
from executus.digest import digest
from executus.errors import DeliveryError
from executus.letter import DeliveryItem, DeliveryReceipt

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}\.jsonl")
TAIL_BYTES = 1_048_576
"""End of a file in which an attempt looks for the line that an earlier one wrote."""
ODD = re.compile(r"[^A-Za-z0-9_.-]")
MAX_STEM = 100


class FileDelivery:
    """Delivers into `folder`.

    Without an address each run has `<run id>.json`; an address such as `runs.jsonl` names a file
    there to which a line is added.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is made at the first delivery."""
        self._folder = folder

    def problem(self, target: DeliveryTarget) -> str | None:
        """Why nothing can be delivered there, if so."""
        if target.address and not NAME.fullmatch(target.address):
            return (
                "a file's address is a plain name that ends in .jsonl, without folders; "
                "leave it out for one file a run"
            )
        return None

    async def deliver(self, item: DeliveryItem) -> DeliveryReceipt:
        """Write it: all of it is there afterwards, or nothing; the same again changes nothing.

        Raises:
            DeliveryError: it could not be written.
        """
        problem = self.problem(item.target)
        if problem is not None:
            raise DeliveryError(problem, permanent=True)
        try:
            await asyncio.to_thread(self._write, item)
        except OSError as error:
            raise DeliveryError(f"file: {error.strerror or type(error).__name__}") from None
        return DeliveryReceipt(id=item.id, target=item.target.shown, delivered_at=datetime.now(UTC))

    def _write(self, item: DeliveryItem) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if item.target.address:
            _append(self._folder / item.target.address, item)
        else:
            _replace(self._folder / f"{_stem(item.run_id)}.json", item.body + b"\n")


def _stem(run_id: str) -> str:
    """A file name for a run id, which may hold anything: other ids get other names."""
    if len(run_id) <= MAX_STEM and not ODD.search(run_id) and not run_id.startswith("."):
        return run_id
    return f"{ODD.sub('_', run_id)[:60].lstrip('.')}~{digest(run_id.encode())[:16]}"


def _replace(path: Path, data: bytes) -> None:
    """Write beside it and rename: a reader sees the old file or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _append(path: Path, item: DeliveryItem) -> None:
    """Add a line under a lock; behind a line that a crash tore, on a new one."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        tail = os.pread(handle, TAIL_BYTES, max(0, size - TAIL_BYTES))
        line = item.body + b"\n"
        if line in tail:
            return
        if tail and not tail.endswith(b"\n"):
            line = b"\n" + line
        view = memoryview(line)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)
