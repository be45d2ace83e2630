"""A worker killed with SIGKILL in the middle of a step: the run goes on elsewhere."""

import asyncio
import os
import subprocess
import sys
import uuid
from pathlib import Path

from temporalio.worker import Worker

from executus import Invocation, RunnableAgent, RunRequest, Status
from executus.runs import Runs

from . import killed_worker


async def killed_in(env, tmp_path: Path, monkeypatch, script: str):
    """Kill the worker in the step of `script`; let another one finish the run."""
    journal = tmp_path / "journal"
    monkeypatch.setattr(killed_worker, "JOURNAL", journal)
    address = env.client.service_client.config.target_host
    queue = f"kill-{uuid.uuid4().hex[:8]}"
    first = subprocess.Popen(
        [sys.executable, "-m", "tests.runs.killed_worker", address, queue, str(journal)],
        cwd=Path(__file__).parent.parent.parent,
        env={**os.environ, "EXECUTUS_TESTS": "1"},
    )
    plugin = killed_worker.plugin()
    config = env.client.config()
    config["plugins"] = [plugin]
    client = type(env.client)(**config)
    runs = Runs(client, queue)
    agent = RunnableAgent(
        name="k", model_tier=f"scripted/{script}", tools=("pay", "put"), max_runtime=120
    )
    try:
        handle = await runs.start(RunRequest(agent=agent, invocation=Invocation(prompt="go")))
        while not (journal.exists() and script in journal.read_text()):
            assert first.poll() is None, "the worker ended by itself"
            await asyncio.sleep(0.02)
    finally:
        first.kill()
        first.wait()
    Path(f"{journal}.go").touch()
    async with Worker(client, task_queue=queue, max_cached_workflows=env.max_cached_workflows):
        result = await runs.result(handle.id)
    return result, journal.read_text().split("\n")[:-1], plugin


async def test_killed_in_a_model_call_it_is_asked_again(env, tmp_path, monkeypatch):
    result, journal, _ = await killed_in(env, tmp_path, monkeypatch, "model")
    assert (result.status, result.output) == (Status.OK, "answered")
    assert journal == ["model", "model"]


async def test_killed_in_a_once_tool_it_is_unknown_and_not_run_again(env, tmp_path, monkeypatch):
    result, journal, plugin = await killed_in(env, tmp_path, monkeypatch, "pay")
    assert result.status is Status.OK
    assert len(journal) == 1, "a payment must not happen twice"
    step = next(s for s in result.steps if s.kind == "tool.pay")
    assert step.status == "unknown"
    assert "unknown" in step.summary
    audit = plugin.host.ports.audit
    run = await audit.run(result.run_id)
    assert (run.n_close, run.closed_head) == (1, result.audit_head)
    rows = {entry.key: entry for entry in await audit.rows(result.run_id) if entry.key}
    assert "m1.t1#0" in rows, "the close writes what the killed worker could not"


async def test_killed_in_an_idempotent_tool_it_runs_again_with_the_same_key(
    env, tmp_path, monkeypatch
):
    result, journal, _ = await killed_in(env, tmp_path, monkeypatch, "put")
    assert result.status is Status.OK
    assert len(journal) == 2
    assert len(set(journal)) == 1, "the key must not change"
    step = next(s for s in result.steps if s.kind == "tool.put")
    assert step.status == "complete"
