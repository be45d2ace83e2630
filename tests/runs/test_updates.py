"""Updates of a run, seen from who sends them."""

import asyncio
import uuid

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from executus import RunRequest, updates
from executus.errors import UserError
from executus.invocation import Invocation
from executus.runs import Runs


@pytest.fixture
async def unserved(env) -> Runs:
    """Runs on a task queue that no worker polls."""
    target = env.client.service_client.config.target_host
    client = await Client.connect(target, data_converter=pydantic_data_converter)
    return Runs(client, task_queue=f"nobody-{uuid.uuid4()}")


async def started(runs: Runs) -> str:
    handle = await runs.start(RunRequest(agent="a", invocation=Invocation(prompt="hi")))
    return handle.id


async def test_an_update_that_no_worker_takes_up_ends_with_a_way_out(unserved, monkeypatch) -> None:
    monkeypatch.setattr(updates, "ACCEPT_SECONDS", 0.3)
    run_id = await started(unserved)
    for asking in (
        unserved.raise_limits(run_id, tokens=5),
        unserved.steer_and_wait(run_id, "look left"),
    ):
        with pytest.raises(UserError, match=r"no worker took this up within 0\.3 s.*start one"):
            await asking


async def test_who_stops_waiting_for_an_update_is_cancelled(unserved) -> None:
    run_id = await started(unserved)
    waiting = asyncio.create_task(unserved.steer_and_wait(run_id, "look left"))
    await asyncio.sleep(0.1)  # 0.1 s: the call is on its way
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_an_update_of_an_unknown_run_names_it(unserved) -> None:
    with pytest.raises(UserError, match="no run `no-such-run` here"):
        await unserved.steer_and_wait("no-such-run", "hello")
