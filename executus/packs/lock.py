"""The lock file: which packs a host is subscribed to, and which content of each is pinned.

`executus.packs.json` is written by `executus packs` only, and belongs under version control: who
changes a pin shows it in a diff.
"""

import contextlib
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from executus.data import Data
from executus.errors import ConfigError
from executus.explain import explain
from executus.folder import make_writable

DIGEST = r"^[0-9a-f]{64}$"
LOCK_SECONDS = 10.0
"""To wait for another command that changes the file."""


class Pending(Data):
    """Content that was found at the source and that nobody has accepted."""

    digest: str = Field(pattern=DIGEST)
    """Which content; its copy is kept, to be looked at."""
    found_at: datetime
    """When it was first seen."""


class Subscription(Data):
    """One pack of a host."""

    source: str
    """Its folder; relative to the lock file where it is below it."""
    digest: str = Field(pattern=DIGEST)
    """The pin: the only content that a worker loads."""
    pinned_at: datetime
    """When somebody accepted it."""
    pending: Pending | None = None
    """An update that waits for somebody to apply it."""


class Lock(Data):
    """The file's content."""

    version: Literal[1] = 1
    """Of the format."""
    packs: dict[str, Subscription] = Field(default_factory=dict[str, Subscription])
    """By name."""


def read_lock(path: Path) -> Lock:
    """The lock file; an empty one when there is none.

    Raises:
        ConfigError: it cannot be read, or says what it may not.
    """
    try:
        return Lock.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Lock()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        msg = f"{path}: {explain(error, Lock)}; `executus packs` writes it, take it from a backup"
        raise ConfigError(msg) from None


def write_lock(path: Path, lock: Lock) -> None:
    """Replace the file as a whole, so that a crash leaves the old one or the new one."""
    part = path.with_name(f".{path.name}.part")
    ordered = lock.model_copy(update={"packs": dict(sorted(lock.packs.items()))})
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(ordered.model_dump_json(indent=2, exclude_none=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


@contextmanager
def changing(path: Path, guard: Path) -> Generator[Lock]:
    """The lock file, while no other command changes it. `guard`: a file to hold on to.

    Raises:
        ConfigError: somebody else holds it for too long, or the guard's folder cannot be written.
    """
    make_writable(guard.parent)
    with guard.open("a") as file:
        # Without such locks (Windows), two commands at the same moment are not told apart.
        with contextlib.suppress(ImportError):
            from executus.server_guard import try_lock  # noqa: PLC0415 - needs fcntl

            end = time.monotonic() + LOCK_SECONDS
            while not try_lock(file, shared=False):
                if time.monotonic() > end:
                    raise ConfigError(f"{path}: another `executus packs` holds {guard}")
                time.sleep(0.05)
        yield read_lock(path)
