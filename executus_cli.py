"""The `executus` command, before anything of it is imported: that takes a third of a second.

Ctrl-C in that time ends the process as it does later: exit code 130 and no traceback. It is a
module of its own because any import from the package imports what the package itself is made of.
"""

import os

INTERRUPTED = 130
"""See `executus.cli.exit`."""


def main() -> None:
    """Entry point of the command; never returns, see `executus.cli.exit`."""
    try:
        # Not left to exceptions alone: what is imported may catch one.
        import signal  # noqa: PLC0415

        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if ours:  # else a shell's `&` or nohup wants it ignored
            signal.signal(signal.SIGINT, _stop)
        from executus.cli.app import main as run  # noqa: PLC0415

        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)


def _stop(number: int, frame: object) -> None:
    """Nothing has begun, so there is nothing to end."""
    del number, frame
    os._exit(INTERRUPTED)
