"""The one place where the command line's process ends.

A short process that used a Temporal client sometimes aborts while the interpreter is finalised
(`PyGILState_Release`, exit code 134 or 139), after all its work is done: 1 to 3 in 10 processes
(https://github.com/temporalio/sdk-python/issues/300, open). The exit code is this program's
interface, so it flushes what it wrote and leaves without finalisation: 0 aborts in 40.
"""

import contextlib
import logging
import os
import sys
from typing import NoReturn, TextIO

OK = 0
"""The run's status is ok, or the command did what it was asked."""
FAILED = 1
"""The run ended in another status, or the command could not do its work."""
USAGE = 2
"""The command was called wrong, or its configuration does not fit."""
INTERRUPTED = 130
"""Ctrl-C: 128 + SIGINT, as shells report it."""
TERMINATED = 143
"""SIGTERM: 128 + 15."""


def leave(code: int) -> NoReturn:
    """Flush every stream and log, then end the process with `code`."""
    logging.shutdown()
    streams: list[TextIO | None] = [sys.stdout, sys.stderr]
    for stream in filter(None, streams):  # None: closed by the shell, `>&-`
        with contextlib.suppress(OSError, ValueError):  # a closed pipe has nobody to tell
            stream.flush()
    os._exit(code)
