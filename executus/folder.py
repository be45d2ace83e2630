"""The folders that a host writes to, made on first use: what cannot be is a wrong configuration."""

import tempfile
from pathlib import Path

from executus.errors import ConfigError


def make_folder(path: Path, *, mode: int = 0o777, setting: str = "EXECUTUS_DATA_DIR") -> None:
    """Make a folder and those above it.

    Raises:
        ConfigError: it cannot be made; names it, the cause and `setting`, the way out.
    """
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot create {path}: {error.strerror}; set {setting}") from None


def make_writable(path: Path) -> None:
    """The same, and see that files can be made in it: modes alone do not tell (read-only mounts).

    Raises:
        ConfigError: one of them cannot be; names the folder.
    """
    make_folder(path)
    try:
        with tempfile.TemporaryFile(dir=path):
            return
    except OSError as error:
        msg = f"cannot write to {path}: {error.strerror}; set EXECUTUS_DATA_DIR"
        raise ConfigError(msg) from None
