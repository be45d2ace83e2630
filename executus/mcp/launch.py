"""Becomes an MCP server that the kernel ends when the worker dies (Linux).

Runs as `python -I -S launch.py WORKER COMMAND...` with the server's own environment, standard
library only: a function between fork and exec would be neither safe nor cheap in a worker that has
threads and a large memory.
"""

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
NOT_FOUND = 127
"""Exit code of a command that cannot be run, as in shells."""


def main(arguments: list[str]) -> None:
    """Ask to be killed with `WORKER`, then become `COMMAND`."""
    worker, *command = arguments
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(worker):  # it died before we asked
        sys.exit(NOT_FOUND)
    try:
        os.execv(command[0], command)  # noqa: S606 - the host's own command
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
