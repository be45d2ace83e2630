"""Python's garbage collector, kept away from what a process loads once and never gives back.

Modules are 149,000 objects of a worker that live as long as the process. The collector goes through
them again and again while they are made (a twelfth of a worker's start), and later in every full
collection: 116 ms each, which may fall into a workflow task, and on a busy machine seconds, which
Temporal takes for a deadlock (docs/performance.md).
"""

import gc
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache


@contextmanager
def loading() -> Generator[None]:
    """Collect nothing while modules are loaded. May overlap with another such time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@cache
def keep_loaded() -> None:
    """Leave all that is there now out of every later collection. Once a process.

    Objects are still freed when nothing refers to them any more; only a cycle that is there now and
    dropped later stays. https://docs.python.org/3/library/gc.html#gc.freeze
    """
    gc.freeze()
