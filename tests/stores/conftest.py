"""Every store test runs on SQLite and on a real PostgreSQL; each test has a schema of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bench.postgres import Postgres, running
from executus.stores.database import Database
from tests.stores.clocks import Clock


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_schema()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    await database.migrate()
    yield database
    await database.close()


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
