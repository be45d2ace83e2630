"""Garbage: collected as before once what was loading is there."""

import gc
import subprocess
import sys

import pytest

from executus.garbage import loading

PROGRAM = """
import gc
from executus.garbage import keep_loaded
before = gc.get_freeze_count()
gc.collect()
keep_loaded()
frozen = gc.get_freeze_count()
later = [[] for _ in range(1_000)]
keep_loaded()
assert frozen > before + 10_000, (before, frozen)
assert gc.get_freeze_count() == frozen, "twice is once"
assert gc.isenabled()
assert later[0] in gc.get_objects()
"""


@pytest.fixture(autouse=True)
def _enabled():
    gc.enable()
    yield
    gc.enable()


def test_nothing_is_collected_while_loading_and_afterwards_it_is():
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_is_collected_again_when_loading_fails():
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()


def test_two_that_load_at_once_leave_the_collector_on():
    first, second = loading(), loading()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_a_host_without_a_collector_keeps_it_off():
    gc.disable()
    with loading():
        pass
    assert not gc.isenabled()


def test_what_is_loaded_is_kept_out_of_collections_once_a_process():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
