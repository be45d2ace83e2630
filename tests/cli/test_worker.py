"""`executus worker` and `server`, as a supervisor sees them."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from executus.cli.place import has_worker
from executus.result import RunResult
from executus.sweeper_workflow import SWEEP_WORKFLOW, SweepReport, SweepRun
from tests.cli.conftest import ROOT, Process
from tests.cli.silent_model import SilentModel

QUESTION = "What did the Lighthouse project cost in total?"
APP = """
from executus import RunnableAgent
from executus.models.registry import Models
from executus.models.scripted import Scripted, say
from executus.plugin import ExecutusPlugin

def make():
    models = Models({"fast": "scripted/hi"}, providers=[Scripted({"hi": [say("hello from app")]})])
    return ExecutusPlugin(agents=[RunnableAgent(name="greeter")], models=models)

plugin = make()
"""


def first_line(process: Process, pattern: str) -> re.Match[str]:
    """Wait for a line of the process that matches."""
    stream = process.stdout if "temporal" in pattern else process.stderr
    assert stream is not None
    for line in stream:
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"no line matches {pattern}")


def address_of(server: Process) -> str:
    return first_line(server, r"temporal +(\S+)").group(1)


def stop(process: Process, number: signal.Signals = signal.SIGTERM) -> tuple[str, str]:
    process.send_signal(number)
    return process.communicate(timeout=40)


def test_a_run_uses_the_worker_that_serves_the_task_queue(start, executus, tmp_path: Path) -> None:
    (tmp_path / "my_host.py").write_text(APP)
    server = start(["server"])
    address = address_of(server)
    variables = {"TEMPORAL_ADDRESS": address, "PYTHONPATH": str(tmp_path)}
    worker = start(["worker", "--app", "my_host:make"], **variables)
    serving = json.loads(first_line(worker, r'\{.*"serving".*\}').group())
    assert (serving["address"], serving["task_queue"]) == (address, "executus")
    code, out, err = executus("run", "--json", "--agent", "greeter", "hi", **variables)
    assert (code, RunResult.model_validate_json(out).output) == (0, "hello from app")
    assert "worker    on task queue executus" in err
    assert "ui  " not in err
    lines = stop(worker)[1].splitlines()
    assert worker.returncode == 0
    assert [json.loads(line)["message"] for line in lines][-1] == "stopped"
    code, _, err = executus("run", "--json", QUESTION, TEMPORAL_ADDRESS=address)
    assert (code, "worker    in this process" in err) == (0, True)  # the stopped one is no worker
    stop(server)
    assert server.returncode == 0


@pytest.mark.parametrize("identities", [("1@a", "1@b"), ("1@host", "1@host")])
async def test_a_worker_that_was_just_restarted_is_seen(start, identities) -> None:
    """The server lists the stopped one for minutes, and the new one after a minute."""
    address = address_of(start(["server"]))
    asking = await Client.connect(address)
    for identity in identities:
        client = await Client.connect(address, identity=identity)
        async with Worker(client, task_queue="q", workflows=[SweepRun]):
            async with asyncio.timeout(20):
                while not await has_worker(asking, "q"):
                    await asyncio.sleep(0.1)
        assert not await has_worker(asking, "q")


def test_a_worker_drains_at_sigterm_and_leaves_what_it_cannot_finish(start) -> None:
    with SilentModel() as model:
        variables = {"EXECUTUS_GRACEFUL_SHUTDOWN_SECONDS": "1", **model.variables}
        worker = start(["worker", "--dev"], **variables)
        address = json.loads(first_line(worker, r'\{.*"serving".*\}').group())["address"]
        run = start(["run", "--json", QUESTION], TEMPORAL_ADDRESS=address, **model.variables)
        assert model.called.wait(60)
        _, err = stop(worker)
        run.kill()
    messages = [json.loads(line)["message"] for line in err.splitlines()]
    assert worker.returncode == 0
    assert "draining" in messages
    assert messages[-1] == "stopped"


def test_without_a_key_the_worker_says_that_its_model_is_a_script(start) -> None:
    worker = start(["worker", "--dev", "--task-queue", "mine"])
    first_line(worker, r'"warning".*offline: a script plays the model')
    serving = json.loads(first_line(worker, r'\{.*"serving".*\}').group())
    assert serving["task_queue"] == "mine"
    stop(worker, signal.SIGINT)
    assert worker.returncode == 0


def test_worker_py_serves_a_host_of_its_own(start, executus) -> None:
    server = start(["server"])
    variables = {"TEMPORAL_ADDRESS": address_of(server), "EXECUTUS_TIER_FAST": "scripted/echo"}
    worker = subprocess.Popen(
        [sys.executable, str(ROOT / "worker.py")],
        env={"PATH": "/usr/bin:/bin", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "serving task queue executus\n"
    try:
        code, out, _ = executus("run", "--json", "--agent", "editor", "hello", **variables)
    finally:
        _, err = stop(worker)
    assert (code, RunResult.model_validate_json(out).output, worker.returncode) == (0, "hello", 0)
    assert err == ""


def test_worker_py_without_a_server_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "worker.py")],
        env={"PATH": "/usr/bin:/bin", "TEMPORAL_ADDRESS": "127.0.0.1:1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("worker: cannot reach Temporal at 127.0.0.1:1: connection")
    assert done.stderr.count("\n") == 1


async def test_the_worker_sweeps_when_a_schedule_tells_it_to(start, executus) -> None:
    worker = start(["worker", "--dev"])
    address = json.loads(first_line(worker, r'\{.*"serving".*\}').group())["address"]
    code, out, _ = await asyncio.to_thread(
        executus, "sweep", "--install", "--every", "1s", TEMPORAL_ADDRESS=address
    )
    assert (code, "every 0:00:01 on task queue executus" in out) == (0, True)
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    query = f"WorkflowType = '{SWEEP_WORKFLOW}' AND ExecutionStatus = 'Completed'"
    swept = [about async for about in client.list_workflows(query)]
    while not swept:
        await asyncio.sleep(0.2)
        swept = [about async for about in client.list_workflows(query)]
    handle = client.get_workflow_handle(swept[0].id, result_type=SweepReport)
    assert (await handle.result()).failed == ()
    await asyncio.to_thread(stop, worker)
    assert worker.returncode == 0


def test_nothing_starts_over_a_named_database_without_its_schema(executus, tmp_path: Path) -> None:
    named = {"EXECUTUS_DATABASE_URL": f"sqlite:///{tmp_path}/named.db"}
    for arguments in (("worker", "--dev"), ("run", QUESTION)):
        code, out, err = executus(*arguments, **named)
        assert (code, out) == (1, "")
        way_out = f"run `executus migrate --database {named['EXECUTUS_DATABASE_URL']}`"
        assert err.splitlines()[-1].endswith(way_out)
        assert "Traceback" not in err
        assert "serving" not in err


def test_nothing_starts_over_a_file_that_is_no_database(executus, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database, but long enough to be read as one\n" * 99)
    for arguments in (("worker", "--dev"), ("run", QUESTION)):
        code, out, err = executus(*arguments, EXECUTUS_DATABASE_URL="sqlite:///notes.txt")
        assert (code, out) == (1, "")
        assert "notes.txt is not an SQLite database: move it away" in err.splitlines()[-1]
        assert "Traceback" not in err
