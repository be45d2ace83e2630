"""Every run test runs twice: with cached workflows, and replayed from scratch at every task."""

from dataclasses import dataclass

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment


@dataclass(frozen=True)
class RunsEnv:
    """The session's server, and how many workflows a worker may keep in memory."""

    client: Client
    server: WorkflowEnvironment
    max_cached_workflows: int


@pytest.fixture(scope="session", params=[100, 0], ids=["cached", "uncached"])
async def env(request: pytest.FixtureRequest, server: WorkflowEnvironment) -> RunsEnv:
    return RunsEnv(server.client, server, request.param)
