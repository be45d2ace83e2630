"""Who looks at a run sees the runs below it, also while one of them is being born."""

from datetime import UTC, datetime

import pytest
from temporalio.service import RPCError, RPCStatusCode

from executus.cli.family import below
from executus.state import LiveState
from executus.step import StepRecord

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def state(run_id: str, *children: str) -> LiveState:
    steps = tuple(
        StepRecord(id=f"m1.t{i}", kind="tool.x", iteration=1, started_at=NOW, child_run_id=child)
        for i, child in enumerate(children, 1)
    )
    return LiveState(run_id=run_id, agent="a", stage="running", started_at=NOW, steps=steps)


async def told(run_id: str) -> LiveState:
    if run_id == "unborn":
        raise RPCError("workflow not found for ID: unborn", RPCStatusCode.NOT_FOUND, b"")
    if run_id == "away":
        raise RPCError("no route", RPCStatusCode.UNAVAILABLE, b"")
    return state(run_id, "grandchild") if run_id == "child" else state(run_id)


async def test_a_child_that_temporal_has_not_begun_is_passed_over():
    found = [each.run_id async for each in below(state("top", "unborn", "child"), told)]
    assert found == ["child", "grandchild"]


async def test_whatever_else_goes_wrong_is_told():
    with pytest.raises(RPCError, match="no route"):
        [each async for each in below(state("top", "away"), told)]
