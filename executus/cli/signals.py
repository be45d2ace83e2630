"""SIGTERM and SIGINT as an event, for processes that serve until told to stop."""

import asyncio
import signal


def stop_event() -> asyncio.Event:
    """An event that the first SIGTERM or SIGINT sets; call it inside the running loop.

    The second one has its usual effect, so that a person can always get out.
    """
    event = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        event.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return event
