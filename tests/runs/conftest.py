"""Every run test runs twice: with cached workflows, and replayed from scratch at every task."""

import os
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


CACHED_ONLY = (
    "test_bytes.py",
    "test_mcp.py",
    "test_providers.py",
    "test_records.py",
    "test_killed_worker.py",
    "_in_bulk",
    "_storm_",
    "test_grant.py",
    "test_phases.py",
    "test_delegation.py",
    "test_delegation_levels.py",
    "test_spill.py",
    "test_images.py",
    "test_attached.py",
    "test_approvals.py",
    "test_steer.py",
    "test_updates.py",
    "test_delivery.py",
    "test_dead_letters.py",
    "test_skills.py",
    "test_fork.py",
    "test_queues.py",
    "test_compaction.py",
    "test_seed_checks.py",
    "test_critic.py",
    "test_encryption.py",
    "test_structured.py",
    "test_recorded_events.py",
    "test_waiting_runs_keep_neither_their_newest_activation_nor_their_commands",
    "test_the_deadline_and_the_iteration_limit_span_the_chain",
    "test_the_command_line_and_a_pending_approval",
    "test_steer_and_cancel_reach_a_later_execution",
)
"""What replay from scratch makes slow and does not touch: run with EXECUTUS_TESTS_UNCACHED=all."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("EXECUTUS_TESTS_UNCACHED") == "all":
        return
    left = [i for i in items if "uncached" in i.nodeid and any(c in i.nodeid for c in CACHED_ONLY)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
