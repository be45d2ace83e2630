import asyncio
import time
from typing import Any

import pytest

from executus.contracts import RunKey, RunState, ToolInput
from executus.errors import ToolError
from executus.tools import ToolContext, tool
from executus.tools.context import Secrets

from .calls import call, context

STATE = RunState(
    iteration=3, max_iterations=12, tool_calls=4, seconds_elapsed=10.0, seconds_left=50.0
)


def test_a_context_is_made_from_a_tool_input() -> None:
    made = ToolContext.of(
        ToolInput(
            key=RunKey(run_id="r", workflow_run_id="w"),
            step_id="m3.t1",
            call_id="c",
            arguments="{}",
            schema_digest="d",
            idempotency_key="k",
            result_bytes=1_000,
            agent_id="agent",
            caller_id="alice",
            tenant_id="acme",
            channel_id="room",
            state=STATE,
        ),
        attempt=2,
    )
    assert (made.run_id, made.step_id, made.call_id, made.attempt) == ("r", "m3.t1", "c", 2)
    assert (made.caller_id, made.tenant_id, made.channel_id) == ("alice", "acme", "room")
    assert (made.agent_id, made.idempotency_key, made.state) == ("agent", "k", STATE)


def test_the_time_left_counts_down_and_stops_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    made = context(state=STATE)
    now = made._started
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert made.seconds_left == 50.0
    now += 20
    assert made.seconds_left == 30.0
    now += 100
    assert made.seconds_left == 0.0


def test_iterations_left_are_those_after_this_one() -> None:
    assert context(state=STATE).iterations_left == 9
    last = STATE.model_copy(update={"iteration": 13})
    assert context(state=last).iterations_left == 0


def test_a_secret_is_read_from_the_mapping_and_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", "from-env")
    assert context(secrets=Secrets(["MY_KEY"])).secret("MY_KEY") == "from-env"
    assert context(secrets=Secrets(["MY_KEY"], {"MY_KEY": "mapped"})).secret("MY_KEY") == "mapped"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("OTHER", "'OTHER' is not allowed; allowed secrets: EMPTY, KEY"),
        ("EMPTY", "'EMPTY' is not set on this worker; allowed secrets: EMPTY, KEY"),
        ("nobody", "'nobody' is not allowed"),
    ],
)
def test_a_secret_that_may_not_be_read_names_the_allowed_ones_and_no_value(
    name: str, problem: str
) -> None:
    secrets = Secrets(["KEY", "EMPTY"], {"KEY": "hunter2", "OTHER": "swordfish"})
    with pytest.raises(ToolError) as caught:
        context(secrets=secrets).secret(name)
    assert problem in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "swordfish" not in str(caught.value)


def test_no_secret_is_allowed_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "from-env")
    with pytest.raises(ToolError, match="allowed secrets: none"):
        context().secret("MY_KEY")


def test_no_repr_shows_a_secret() -> None:
    secrets = Secrets(["KEY"], {"KEY": "hunter2"})
    made = context(secrets=secrets)
    for text in (repr(made), str(made), f"{made}", repr(secrets), str(secrets)):
        assert "hunter2" not in text


async def test_a_tool_that_returns_its_context_gives_nothing_away() -> None:
    @tool
    async def leak(context: ToolContext) -> Any:
        return context

    part = await call(leak, secrets=Secrets(["KEY"], {"KEY": "hunter2"}))
    assert "hunter2" not in part.text


async def test_a_heartbeat_from_a_thread_arrives_on_the_event_loop() -> None:
    beats: list[tuple[object, ...]] = []
    loop = asyncio.get_running_loop()

    def beat(*details: object) -> None:
        assert asyncio.get_running_loop() is loop
        beats.append(details)

    @tool
    def work(context: ToolContext) -> None:
        context.heartbeat("half", {"nan": float("nan")})

    @tool
    async def async_work(context: ToolContext) -> None:
        context.heartbeat(1)

    await call(work, beat=beat)
    await call(async_work, beat=beat)
    assert beats == [("half", {"nan": "nan"}), (1,)]


def test_a_secret_that_another_begins_with_leaves_nothing_of_that_one() -> None:
    secrets = Secrets(["A", "B"], {"A": "tok-abc123", "B": "tok-abc123-9f8e7d6c"})
    assert secrets.hide("tok-abc123-9f8e7d6c tok-abc123") == "[secret:B] [secret:A]"
