"""The chain: who is asked, who is blamed, and what Temporal is told."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executus.errors import SKIP_FAULTS, TRANSIENT_FAULTS, ModelError, ModelFault
from executus.message import Message, TextPart
from executus.models.chain import AttemptMemory, ChainFailed, answer
from executus.models.health import Health
from executus.models.provider import ModelReply
from executus.plan import ModelTarget
from executus.usage import Usage

REPLY = ModelReply(Message(role="assistant", parts=(TextPart(text="x"),)), "end", Usage(), "m")
Outcome = ModelFault | tuple[ModelFault, float] | None


class World:
    """Targets that behave as told, attempt after attempt, and a clock."""

    def __init__(self, *specs: str) -> None:
        self.now = 0.0
        self.targets = [ModelTarget(spec=spec, context_window=1000) for spec in specs]
        self.outcomes: dict[str, list[Outcome]] = {}
        self.asked: list[str] = []
        self.memory = AttemptMemory()
        self.health = Health(lambda: self.now)

    def will(self, spec: str, *outcomes: Outcome) -> "World":
        """The last outcome stays."""
        self.outcomes[spec] = list(outcomes)
        return self

    async def call(self, target: ModelTarget) -> ModelReply:
        self.asked.append(target.spec)
        left = self.outcomes.get(target.spec, [None])
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if outcome is None:
            return REPLY
        fault, wish = outcome if isinstance(outcome, tuple) else (outcome, None)
        raise ModelError(f"{target.spec} is {fault}", fault=fault, retry_after=wish)

    async def attempt(self, own_deadline: Callable[[], bool] = lambda: False) -> str:
        """One Temporal attempt: who answered. Memory crosses attempts as JSON."""
        memory = AttemptMemory.model_validate_json(self.memory.model_dump_json())
        try:
            done = await answer(
                self.targets, self.call, memory, self.health, own_deadline=own_deadline
            )
        finally:
            self.memory = memory
        return done.target.spec

    async def failure(self, own_deadline: Callable[[], bool] = lambda: False) -> ChainFailed:
        with pytest.raises(ChainFailed) as caught:
            await self.attempt(own_deadline)
        return caught.value


async def test_the_first_healthy_target_answers() -> None:
    world = World("a/1", "b/1")
    assert await world.attempt() == "a/1"
    assert world.asked == ["a/1"]


async def test_a_transient_failure_is_retried_by_temporal_and_not_here() -> None:
    world = World("a/1", "b/1").will("a/1", ("overloaded", 2.0), None)
    failed = await world.failure()
    assert (failed.final, failed.fault, failed.retry_after) == (False, "overloaded", 2.0)
    assert world.asked == ["a/1"]
    assert await world.attempt() == "a/1"


async def test_the_second_failure_of_a_target_moves_on_at_once() -> None:
    world = World("a/1", "b/1").will("a/1", "overloaded")
    await world.failure()
    assert await world.attempt() == "b/1"
    assert world.asked == ["a/1", "a/1", "b/1"]
    assert [(f.spec, f.fault) for f in world.memory.failovers] == [("a/1", "overloaded")]


async def test_a_long_wait_is_no_reason_to_wait_while_another_target_is_free() -> None:
    world = World("a/1", "b/1").will("a/1", ("rate_limited", 60.0))
    assert await world.attempt() == "b/1"


async def test_a_long_wait_of_the_only_target_is_waited_for() -> None:
    world = World("a/1").will("a/1", ("rate_limited", 60.0))
    assert (await world.failure()).retry_after == 60.0


async def test_a_benched_target_is_skipped_and_named() -> None:
    world = World("a/1", "b/1")
    world.health.bench("a/1", 30)
    assert await world.attempt() == "b/1"
    (benched,) = world.memory.failovers
    assert (benched.spec, benched.fault, benched.retry_after) == ("a/1", "benched", 30)


async def test_when_all_are_benched_the_first_to_recover_is_asked() -> None:
    world = World("a/1", "b/1")
    world.health.bench("a/1", 30)
    world.health.bench("b/1", 20)
    assert await world.attempt() == "b/1"


async def test_when_the_probe_fails_too_temporal_waits_for_the_soonest_recovery() -> None:
    world = World("a/1", "b/1").will("b/1", "connection")
    world.health.bench("a/1", 30)
    world.health.bench("b/1", 20)
    failed = await world.failure()
    assert (failed.final, failed.retry_after) == (False, 20)
    assert world.asked == ["b/1"]


async def test_the_end_of_the_chain_names_every_target_and_its_reason() -> None:
    world = World("a/1", "b/1").will("a/1", "overloaded").will("b/1", "not_found")
    await world.failure()
    failed = await world.failure()
    assert not failed.final
    assert failed.fault == "overloaded"
    assert "a/1 is overloaded" in str(failed)
    assert "b/1 is not_found" in str(failed)
    assert failed.retry_after == 5


@pytest.mark.parametrize("fault", sorted(SKIP_FAULTS))
async def test_a_target_that_cannot_serve_is_passed_without_penalty(fault: ModelFault) -> None:
    world = World("a/1", "b/1").will("a/1", fault).will("b/1", "overloaded", None)
    await world.failure()
    assert world.health.snapshot().keys() == {"b/1"}
    assert await world.attempt() == "b/1"
    assert world.asked == ["a/1", "b/1", "b/1"]  # and not asked again in this step


@pytest.mark.parametrize("fault", sorted(SKIP_FAULTS))
async def test_when_nobody_can_serve_the_failure_is_final(fault: ModelFault) -> None:
    world = World("a/1", "b/1").will("a/1", fault).will("b/1", fault)
    for _ in range(2):
        failed = await world.failure()
        assert (failed.final, failed.fault) == (True, fault)
    assert world.asked == ["a/1", "b/1"]


FINAL: list[ModelFault] = [
    "provider_auth",
    "provider_quota",
    "request_rejected",
    "context_overflow",
    "script_exhausted",
]


@pytest.mark.parametrize("fault", FINAL)
async def test_a_final_fault_fails_fast_and_blames_nobody(fault: ModelFault) -> None:
    world = World("a/1", "b/1").will("a/1", fault)
    failed = await world.failure()
    assert (failed.final, failed.fault) == (True, fault)
    assert world.asked == ["a/1"]
    assert world.health.snapshot() == {}


async def test_a_single_target_is_asked_for_as_long_as_temporal_asks() -> None:
    world = World("a/1").will("a/1", *["overloaded"] * 6, None)
    waits: list[float | None] = []
    for _ in range(6):
        failed = await world.failure()
        assert not failed.final
        waits.append(failed.retry_after)
        world.now += failed.retry_after or 1.0
    assert waits == [None, 5, 10, 20, 40, 80]
    assert await world.attempt() == "a/1"
    assert world.health.snapshot() == {}


async def test_tries_used_up_by_all_begin_a_new_round() -> None:
    world = World("a/1", "b/1").will("a/1", "timeout").will("b/1", "timeout")
    for _ in range(3):
        await world.failure()
    assert world.asked == ["a/1", "a/1", "b/1", "b/1"]
    for spec in ("a/1", "b/1"):  # another run got an answer
        world.health.success(spec)
    world.will("b/1", None)
    await world.failure()
    assert await world.attempt() == "b/1"
    assert world.asked[4:] == ["a/1", "a/1", "b/1"]


async def test_our_own_deadline_blames_nobody_and_asks_nobody_else() -> None:
    world = World("a/1", "b/1").will("a/1", "timeout")
    for _ in range(3):
        failed = await world.failure(own_deadline=lambda: True)
        assert (failed.final, failed.fault) == (False, "timeout")
    assert set(world.asked) == {"a/1"}
    assert world.health.snapshot() == {}


async def test_a_cancel_passes_through_and_blames_nobody() -> None:
    world = World("a/1", "b/1")
    started = asyncio.Event()

    async def hang(_: ModelTarget) -> ModelReply:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(answer(world.targets, hang, world.memory, world.health))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.health.snapshot() == {}
    assert world.memory == AttemptMemory()


async def test_what_is_no_model_error_passes_through() -> None:
    world = World("a/1")

    async def denied(_: ModelTarget) -> ModelReply:
        raise PermissionError("the budget said no")

    with pytest.raises(PermissionError):
        await answer(world.targets, denied, world.memory, world.health)
    assert world.health.snapshot() == {}


async def test_an_empty_chain_is_a_mistake_of_the_caller() -> None:
    world = World()
    with pytest.raises(ValueError, match="at least one target"):
        await world.attempt()


FAULTS = st.sampled_from([*sorted(TRANSIENT_FAULTS | SKIP_FAULTS), *FINAL, None])
WISHES = st.sampled_from([0.5, 3.0, 90.0])
OUTCOME = FAULTS | st.tuples(st.sampled_from(sorted(TRANSIENT_FAULTS)), WISHES)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(OUTCOME, min_size=1, max_size=5), min_size=1, max_size=4),
    st.lists(st.floats(0, 60), min_size=1, max_size=12),
)
def test_whatever_the_targets_do_the_chain_keeps_its_promises(
    plans: list[list[Outcome]], waits: list[float]
) -> None:
    """Every attempt asks somebody who may serve, nobody twice; a skip is never asked again;
    final means that no other attempt could help; the memory stays small."""
    world = World(*(f"t{n}/m" for n in range(len(plans))))
    for n, plan in enumerate(plans):
        world.will(f"t{n}/m", *plan)

    async def run() -> None:
        for wait in waits:
            world.asked.clear()
            passed = set(world.memory.passed)
            failed = None
            try:
                assert await world.attempt() == world.asked[-1]
            except ChainFailed as error:
                failed = error
            assert len(set(world.asked)) == len(world.asked)
            assert not passed & set(world.asked)
            if failed is None:
                assert world.health.benched_for(world.asked[-1]) == 0
                return
            assert failed.retry_after is None or failed.retry_after >= 0
            assert len(failed.failovers) <= 32
            if failed.final:
                assert failed.fault not in TRANSIENT_FAULTS
                return
            assert world.asked
            assert failed.fault in TRANSIENT_FAULTS
            world.now += wait

    asyncio.run(run())
