"""Histories of every release replay with today's code."""

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from executus import instances
from executus.models.registry import Models
from executus.plugin import ExecutusPlugin

KEPT = sorted(Path(__file__).parent.glob("*/*.json"))


@pytest.mark.parametrize("file", KEPT, ids=lambda f: f"{f.parent.name}-{f.stem}")
async def test_a_kept_history_replays(file):
    history = WorkflowHistory.from_json(file.stem, file.read_text())
    plugin = ExecutusPlugin(models=Models({}))
    await Replayer(workflows=[], plugins=[plugin]).replay_workflow(history)


async def test_an_update_that_a_new_worker_got_after_the_events_of_its_task_replays(monkeypatch):
    """Recorded while workers restarted; in the SDK's own order no worker could go on with it."""
    file = KEPT[0].parent / "run-991-84e8.json"
    history = WorkflowHistory.from_json(file.stem, file.read_text())
    replayer = Replayer(workflows=[], plugins=[ExecutusPlugin(models=Models({}))])
    await replayer.replay_workflow(history)
    monkeypatch.setattr(instances, "events_first", lambda activate, act: activate(act))
    with pytest.raises(NondeterminismError, match="Update machine does not handle this event"):
        await replayer.replay_workflow(history)


def test_there_are_histories_of_this_release():
    from importlib.metadata import version

    assert any(file.parent.name == version("executus") for file in KEPT)
