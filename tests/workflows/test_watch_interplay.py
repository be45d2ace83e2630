"""What a critic does to runs that wait for people, have phases or parents, or go on elsewhere.

The watch itself runs here, on a clock of the test's own, with the activity's own rule for asking.
"""

import asyncio
import heapq
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from temporalio import workflow
from temporalio.exceptions import ActivityError, CancelledError, RetryState

from executus.activities.critic import Scene
from executus.activities.pulse import Pulse, _child_work
from executus.contracts import RunKey
from executus.critic import CriticConfig, CriticState
from executus.critic_look import CriticSeen
from executus.critic_view import CriticDecision
from executus.lineage import Lineage
from executus.phase import Phase
from executus.redact import Redactor
from executus.request import RunRequest
from executus.status import Reason, Status
from executus.workflows import watch as watch_module
from executus.workflows.allowance import Allowance
from executus.workflows.controls import Controls
from executus.workflows.handover import pack, unpack_run
from executus.workflows.loop import AgentLoop
from executus.workflows.run import Run
from executus.workflows.watch import Watch

from .fakes import START, FakeEngine, call, phases_of, plan, run_loop, say, set_time

HOST = CriticConfig(kind="own", backstop=10, extensions=2)
KEY = RunKey(run_id="r", workflow_run_id="w")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def seconds(when: datetime) -> float:
    return (when - START).total_seconds()


@dataclass
class World:
    """A run, its watch, and a clock that jumps to whatever comes next."""

    run: Run
    config: CriticConfig = HOST
    decide: object = None
    """What the critic says: from the look, or always the same."""
    now: datetime = START
    looks: list[tuple[float, str]] = field(default_factory=list)
    asked: list[tuple[float, str]] = field(default_factory=list)
    later: list = field(default_factory=list)
    signs: list[float] = field(default_factory=list)
    """When a tool's heartbeat or a child's step came, which only a look sees."""
    meanwhile: object = None
    """What happens between a look's sending and its asking the run."""

    def on(self, when: float, action) -> None:
        heapq.heappush(self.later, (when, len(self.later), action))

    def at_work(self, *times: float) -> None:
        for when in times:
            self.on(when, self.run.changed)

    async def watch(self, **bounds) -> None:
        """Until the run ends: at its deadline, or because it was killed."""
        run = self.run
        if run.plan is None:
            run.plan = plan(max_runtime=600, **bounds)
        run.plan = run.plan.model_copy(update={"critic": self.config.planned(600, 12)})
        run.allowance = Allowance.of(run.plan)
        run.clock.allow(run.plan.deadline_seconds)
        run.clock.reach(run.plan.reach_seconds)
        await Watch(run, Controls(run))._watch(run.plan.critic, "digest")

    # -- what Temporal does otherwise --------------------------------------------------------------

    async def sleep(self, duration: timedelta, *, summary: str) -> None:
        await asyncio.sleep(0)
        self._until(self.now + duration)

    async def wait_condition(self, fn, **_) -> None:
        while not fn():
            await asyncio.sleep(0)
            self._until(at(self.later[0][0]) if self.later else self.run.clock.deadline_at)

    def _until(self, when: datetime) -> None:
        """Whatever happens until then happens, the run's own end included."""
        while self.later and at(self.later[0][0]) <= when:
            self.now = max(self.now, at(self.later[0][0]))
            heapq.heappop(self.later)[2]()
        self.now = max(self.now, when)
        if self.now >= self.run.clock.deadline_at:
            self.run.stage = "running"
            Controls(self.run).stop(Status.TIMEOUT, Reason.DEADLINE, "time is up", by="deadline")

    async def perform(self, name, look, kind, options, summary) -> CriticSeen:
        self.looks.append((seconds(look.at), look.cause))
        if self.meanwhile is not None:
            self.meanwhile()
        seen = [at(t) for t in self.signs if at(t) <= look.at]
        pulse = Pulse(look.at, Redactor(), active_at=max(seen, default=None))
        scene = Scene(look, self.run.plan, self.run.plan.critic, pulse, self.run.state())
        if not scene.must_ask:
            return CriticSeen(active_at=scene.active_at)
        self.asked.append((seconds(look.at), look.cause))
        decision = self.decide(self, scene) if callable(self.decide) else self.decide
        return CriticSeen(active_at=scene.active_at, decision=decision or CriticDecision())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    set_time(monkeypatch, lambda: START)
    monkeypatch.setattr(workflow, "cancellation_reason", lambda: None)
    run = Run(KEY)
    run.stage = "running"
    world = World(run)
    set_time(monkeypatch, lambda: world.now)
    monkeypatch.setattr(workflow, "sleep", world.sleep)
    monkeypatch.setattr(workflow, "wait_condition", world.wait_condition)
    monkeypatch.setattr(watch_module, "perform", world.perform)
    return world


def waits(run: Run, what: str | None):
    return lambda: run.waiting_for("m1.t1", what)


def names(run: Run) -> list[str]:
    return [event.name for event in run.ledger.events]


KILL = CriticDecision(kill="it hangs")


# -- waiting for people ----------------------------------------------------------------------------


async def test_each_silence_is_asked_about_once_and_any_activity_begins_another(world):
    world.at_work(100, 2_000)
    world.signs = [4_000]
    await world.watch()
    assert world.asked == [(700, "idle"), (2_600, "idle"), (4_600, "idle")]
    assert world.run.stop_why.reason is Reason.DEADLINE


async def test_heartbeats_and_child_runs_keep_a_run_from_being_asked_about(world):
    world.signs = [500 * n for n in range(1, 12)]
    await world.watch()
    assert [cause for _, cause in world.asked] == ["deadline"]
    assert len(world.looks) <= 12, "it looks once an idle time, however much goes on"


async def test_a_run_that_waits_for_a_person_is_neither_asked_about_nor_killed(world):
    world.decide = KILL
    world.on(100, waits(world.run, "approval of send"))
    world.on(5_000, waits(world.run, None))
    world.at_work(5_100)
    await world.watch()
    assert world.looks == [(5_700, "idle")], "silence counts from what the run did itself"
    assert world.run.stop_why.status is Status.KILLED


async def test_the_deadline_ends_a_wait_for_a_person_as_a_timeout(world):
    world.decide = KILL
    world.on(100, waits(world.run, "approval of send"))
    await world.watch()
    assert world.looks == []
    assert world.run.stop_why.reason is Reason.DEADLINE


async def test_who_waits_for_two_people_waits_for_the_second(world):
    world.decide = KILL
    for when, key, what in ((100, "m1.t1", "a"), (200, "limit", "b"), (300, "m1.t1", None)):
        world.on(when, lambda key=key, what=what: world.run.waiting_for(key, what))
    await world.watch()
    assert world.looks == []


@pytest.mark.parametrize("cause", ["idle", "deadline"])
async def test_a_look_that_finds_a_run_waiting_for_a_person_asks_nobody(world, cause):
    world.decide = KILL
    world.meanwhile = waits(world.run, "approval of send")
    if cause == "deadline":
        world.at_work(*range(100, 5_941, 100))
    await world.watch()
    assert [why for _, why in world.looks] == [cause]
    assert world.asked == []
    assert world.run.stop_why.reason is Reason.DEADLINE


@pytest.mark.parametrize("cause", ["idle", "deadline"])
async def test_a_kill_that_finds_a_run_waiting_for_a_person_is_not_carried_out(world, cause):
    def decide(world, scene):
        world.run.waiting_for("limit", "tokens")
        return KILL

    world.decide = decide
    if cause == "deadline":
        world.at_work(*range(100, 6_000, 100))
    await world.watch()
    assert world.asked[0][1] == cause
    assert world.run.stop_why.reason is Reason.DEADLINE
    assert "critic_overtaken" in names(world.run)


async def test_a_pause_that_a_phase_breaks_off_does_not_leave_the_run_waiting(world, monkeypatch):
    async def forever(fn, **_):
        await asyncio.Event().wait()

    monkeypatch.setattr(workflow, "wait_condition", forever)
    pause = asyncio.create_task(Controls(world.run).pause("tokens are used up", None))
    await asyncio.sleep(0)
    assert world.run.stage == "paused"
    pause.cancel()
    await asyncio.gather(pause, return_exceptions=True)
    assert (world.run.stage, world.run.waiting) == ("running", None)


async def test_a_child_that_waits_for_a_person_keeps_its_parent_from_being_silent(world):
    world.run.waiting_for("m1.t1", "approval of send")
    work = _child_work("r/m1.t1", world.run.state(), Pulse(at(5_000), Redactor()))
    assert work.quiet_seconds == 0
    world.run.waiting_for("m1.t1", None)
    work = _child_work("r/m1.t1", world.run.state(), Pulse(at(5_000), Redactor()))
    assert work.quiet_seconds == 5_000


# -- phases ----------------------------------------------------------------------------------------


def phased(world: World) -> None:
    phases = (Phase(name="Dig", max_runtime=300, max_iterations=3), Phase(name="Write"))
    world.run.plan = phases_of(*phases, max_runtime=600)
    world.run.progress.deadline_at = at(300)
    world.run.ledger.phase = "Dig"


async def test_a_phases_own_time_and_turns_are_not_the_critics_to_give(world):
    phased(world)
    world.decide = CriticDecision(extend=600, raise_steps=5)
    await world.watch()
    assert world.run.progress.deadline_at == at(300)
    assert world.run.allowance.iterations == 12
    assert names(world.run)[:2] == ["extended", "raise_refused"]
    assert world.run.clock.deadline_at > at(6_000)


async def test_a_phase_that_begins_breaks_the_silence_of_the_one_before(world):
    phased(world)
    world.at_work(300)  # the first phase was over, and the second one's first step began
    await world.watch()
    assert world.asked[0] == (900, "idle")


async def test_a_judge_of_a_run_with_phases_is_told_that_it_can_raise_nothing(world):
    phased(world)
    told = []

    def decide(world, scene):
        told.append(scene.view("task", "").raise_steps)

    world.decide = decide
    await world.watch()
    assert set(told) == {0}


# -- child runs ------------------------------------------------------------------------------------


async def test_a_child_run_is_given_no_more_than_its_parent_has_left(world):
    world.run.clock.cap(6_100)
    world.decide = CriticDecision(extend=600)
    await world.watch()
    assert world.run.clock.deadline_at == at(6_100)
    assert names(world.run).count("extended") == 1
    (told,) = (e.summary for e in world.run.ledger.events if e.name == "extended")
    assert told.startswith("by 100 s")


async def test_a_child_run_whose_deadline_cannot_move_is_not_offered_to_a_critic_for_that(world):
    world.run.clock.cap(3_000)
    left = []

    def decide(world, scene):
        view = scene.view("task", "")
        left.append((view.extensions_left, view.extend_seconds))
        return CriticDecision(extend=600)

    world.decide = decide
    await world.watch()
    assert world.run.clock.deadline_at == at(3_000)
    assert {cause for _, cause in world.looks} == {"idle"}
    assert set(left) == {(0, 0)}
    assert world.run.critic.extensions == 0
    refused = [e.summary for e in world.run.ledger.events if e.name == "extension_refused"]
    assert refused == ["the deadline moves no further"]


async def test_the_watchdog_of_a_child_run_whose_deadline_cannot_move_looks_at_nothing(world):
    world.config = CriticConfig()
    world.run.clock.cap(1_200)
    await world.watch()
    assert world.looks == []


# -- another execution -----------------------------------------------------------------------------


async def test_what_a_watch_remembers_goes_on_in_the_next_execution(world, monkeypatch):
    monkeypatch.setattr(workflow, "info", lambda: SimpleNamespace(run_id="first"))
    first = world.run
    lineage = Lineage(
        ancestors=("top",),
        root_run_id="top",
        depth_left=1,
        descendants_left=0,
        seconds=6_700,
        result_bytes=1_000,
    )
    first.request = RunRequest(agent="a", lineage=lineage)
    first.clock.cap(lineage.seconds)
    world.decide = CriticDecision(extend=600, raise_steps=5)
    world.on(650, lambda: Controls(first).cancel(("end", "ann")))
    await world.watch()
    assert first.clock.deadline_at == at(6_600)
    loop = AgentLoop(
        first.plan,
        first.transcript,
        first.ledger,
        steer=first.steer,
        engine=FakeEngine([]),
        allowance=first.allowance,
    )
    carry = pack(first, first.plan, loop, len(first.ledger.events))

    second = Run(KEY)
    second.clock.started_at = carry.started_at
    second.request = carry.request
    unpack_run(type(carry).model_validate_json(carry.model_dump_json()), second)
    assert second.critic == first.critic
    assert (second.critic.extensions, second.critic.judged_at) == (1, at(600))
    assert second.clock.deadline_at == at(6_600)
    assert second.clock.room == 100, "the second extension ends where the parent's time does"
    assert second.allowance.iterations == 17


async def test_a_look_that_a_handover_breaks_off_is_made_by_the_next_execution(world, monkeypatch):
    async def cancelled(*_):
        error = ActivityError(
            "cancelled",
            scheduled_event_id=1,
            started_event_id=2,
            identity="",
            activity_type="executus.critic",
            activity_id="1",
            retry_state=RetryState.CANCEL_REQUESTED,
        )
        raise error from CancelledError()

    monkeypatch.setattr(watch_module, "perform", cancelled)
    world.at_work(*range(100, 6_000, 100))
    with pytest.raises(asyncio.CancelledError):
        await world.watch()
    assert world.run.critic == CriticState(), "or the run would not be looked at before its end"


# -- the one inbox ---------------------------------------------------------------------------------


async def test_a_nudge_reaches_the_model_once_after_what_people_said(world):
    run = world.run
    run.plan = plan(max_iterations=5)

    def nudged(engine: FakeEngine):
        """The critic speaks while the model thinks, and a person does."""
        controls = Controls(run)
        decision = CriticDecision(nudge="look left", extend=1)
        Watch(run, controls)._apply(HOST.planned(600, 5), decision, "idle", START)
        controls.steer(("hello", "ann"))
        return call("t")

    engine = FakeEngine([nudged, call("t"), say("done")], steer=run.steer)
    await run_loop(engine, run.plan)
    heard = [[m.text for m in step["shown"] if m.role == "user"][1:] for step in engine.model_steps]
    assert heard == [[], ["hello", "[critic] look left"], ["hello", "[critic] look left"]]
    said = [m.text for m in engine.transcript.messages if m.role == "user"]
    assert said.count("[critic] look left") == 1
