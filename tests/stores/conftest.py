"""Every store test runs on SQLite and on a real PostgreSQL; each test has a schema of its own."""

from collections.abc import AsyncIterator

import pytest
from temporalio.testing import WorkflowEnvironment

from executus.server_program import DYNAMIC_ARGUMENTS
from executus.stores.database import Database
from tests.conftest import temporal_program
from tests.stores.clocks import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def clocked(url: str, clock: Clock) -> AsyncIterator[Database]:
    """A database whose clock the test sets."""
    database = Database(url, clock=clock)
    await database.migrate()
    yield database
    await database.close()


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    """A real Temporal server in real time."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=temporal_program(),
        dev_server_extra_args=[*DYNAMIC_ARGUMENTS, "--log-level", "error"],
    ) as environment:
        yield environment
