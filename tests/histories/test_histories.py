"""Histories of every release replay with today's code."""

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from executus.models.registry import Models
from executus.plugin import ExecutusPlugin

KEPT = sorted(Path(__file__).parent.glob("*/*.json"))


@pytest.mark.parametrize("file", KEPT, ids=lambda f: f"{f.parent.name}-{f.stem}")
async def test_a_kept_history_replays(file):
    history = WorkflowHistory.from_json(file.stem, file.read_text())
    plugin = ExecutusPlugin(models=Models({}))
    await Replayer(workflows=[], plugins=[plugin]).replay_workflow(history)


def test_there_are_histories_of_this_release():
    from importlib.metadata import version

    assert any(file.parent.name == version("executus") for file in KEPT)
