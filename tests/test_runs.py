"""Runs: what the server says of a run that is just being continued as new is not the caller's."""

from datetime import UTC, datetime

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from executus import Reason
from executus import runs as module
from executus.endings import typed_result
from executus.errors import RequestError
from executus.runs import Runs


def heard(monkeypatch: pytest.MonkeyPatch, *answers: object) -> list[float]:
    """Have `answers` come to one query after the other; how long each may take."""
    asked: list[float] = []

    async def read_state(handle, seconds):
        asked.append(seconds)
        answer = answers[min(len(asked), len(answers)) - 1]
        if isinstance(answer, RPCStatusCode):
            raise RPCError("said the server", answer, b"")
        return answer

    monkeypatch.setattr(module, "read_state", read_state)
    monkeypatch.setattr(module, "QUERY_PAUSE", 0.0)
    return asked


@pytest.fixture
def lazy() -> Client:
    class Lazy(Client):
        def __init__(self) -> None: ...

        def get_workflow_handle(self, *args, **kwargs):
            return None

    return Lazy()


async def test_a_query_that_meets_a_handover_is_asked_again(monkeypatch, lazy):
    lost, early = RPCStatusCode.CANCELLED, RPCStatusCode.FAILED_PRECONDITION
    asked = heard(monkeypatch, lost, early, early, "the state")
    assert await Runs(lazy).state("r") == "the state"
    assert asked == [3.0, *[module.QUERY_SECONDS] * 3]


async def test_a_run_that_is_not_there_is_told_at_once(monkeypatch, lazy):
    asked = heard(monkeypatch, RPCStatusCode.NOT_FOUND)
    with pytest.raises(RPCError):
        await Runs(lazy).state("r")
    assert len(asked) == 1


async def test_what_does_not_pass_is_told_in_the_end(monkeypatch, lazy):
    monkeypatch.setattr(module, "QUERY_SECONDS", 0.05)
    asked = heard(monkeypatch, RPCStatusCode.FAILED_PRECONDITION)
    with pytest.raises(RPCError):
        await Runs(lazy).state("r")
    assert len(asked) > 1


@pytest.mark.parametrize(("text", "by"), [("", ""), (" \n", "ann"), ("hi", "x" * 256)])
async def test_what_cannot_be_said_is_refused_on_both_ways(lazy, text, by):
    for say in (Runs(lazy).steer, Runs(lazy).steer_and_wait):
        with pytest.raises(RequestError, match=r"nothing to say|`by`: String should have at most"):
            await say("r", text, by=by)


async def test_limits_that_no_run_has_are_refused(lazy):
    with pytest.raises(RequestError, match="`iterations`: Input should be less than or equal"):
        await Runs(lazy).raise_limits("r", iterations=200_000)


def test_the_result_of_a_failed_run_of_a_later_version_is_read():
    now = datetime.now(UTC)
    step = {"id": "m1", "kind": "model", "iteration": 1, "started_at": now.isoformat(), "new": 1}
    told = {
        "run_id": "r",
        "status": "timeout",
        "reason": "deadline",
        "started_at": now.isoformat(),
        "ended_at": now.isoformat(),
        "steps": [step],
        "what_a_later_version_adds": {"a": 1},
    }
    result = typed_result(ApplicationError("x", told, type="executus.timeout"))
    assert result is not None
    assert (result.reason, result.steps[0].id) == (Reason.DEADLINE, "m1")
