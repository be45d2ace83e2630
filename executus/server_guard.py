"""Keeps the embedded server running while somebody uses it, and not a moment longer.

Runs as its own small process (`python -I server_guard.py USERS STATE COMMAND...`), standard library
only. Every process that uses the server holds a shared lock on the file USERS. The kernel drops a
lock when its holder dies, however it dies, so an exclusive lock means: nobody is left.
"""

import contextlib
import ctypes
import fcntl
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

POLL_SECONDS = 0.2
STOP_SECONDS = 10.0
"""What the server gets to write out its database after SIGTERM."""
PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Make the kernel end this process when its parent dies (Linux; elsewhere nothing)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def try_lock(file: IO[str], *, shared: bool) -> bool:
    """Take a lock without waiting; says whether it was got."""
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def stop(server: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, then SIGKILL for one that does not listen."""
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def watch(users: IO[str], command: list[str]) -> int:
    """Run the server until nobody uses it; its exit code, or 0 when we stopped it."""
    server = subprocess.Popen(  # noqa: S603 - the command is ours
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has one thread
    )

    def on_signal(*_: object) -> None:
        server.terminate()

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    while (code := server.poll()) is None:
        if try_lock(users, shared=False):  # held until we exit: a newcomer waits for a clean end
            stop(server)
            return 0
        time.sleep(POLL_SECONDS)
    return code


def main(arguments: list[str]) -> int:
    """`USERS STATE COMMAND...`; removes STATE at the end: the server it names is gone."""
    users, state, *command = arguments
    with Path(users).open("a") as file:
        try:
            return watch(file, command)
        finally:
            Path(state).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
