"""When a critic looks, what it is asked, and what its decisions do: without a server."""

from datetime import datetime, timedelta

import pytest
from pydantic import ValidationError
from temporalio import workflow

from executus.contracts import RunKey
from executus.critic import DAY, CriticConfig, CriticState, must_ask, next_look
from executus.critic_view import CriticDecision
from executus.status import Reason, Status
from executus.workflows.allowance import Allowance
from executus.workflows.clock import Clock
from executus.workflows.controls import Controls
from executus.workflows.run import Run
from executus.workflows.watch import Watch

from .fakes import START, plan, set_time

PLAN = CriticConfig().planned(600, 12)
HOST = CriticConfig(kind="own").planned(600, 12)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


# -- numbers -----------------------------------------------------------------------------------


def test_what_is_left_out_follows_from_the_agents_own_bounds():
    assert (PLAN.idle_seconds, PLAN.deadline_seconds, PLAN.reach_seconds) == (600, 1_200, 1_800)
    assert (PLAN.extensions, PLAN.extend_seconds, PLAN.raise_steps) == (1, 600, 12)


def test_no_deadline_passes_a_day_unless_max_runtime_does():
    half = CriticConfig(extensions=100).planned(DAY / 2 + 1, 12)
    assert (half.deadline_seconds, half.reach_seconds) == (DAY, DAY)
    long = CriticConfig(extensions=100).planned(3 * DAY, 12)
    assert (long.deadline_seconds, long.reach_seconds) == (3 * DAY, 3 * DAY)
    own = CriticConfig(extensions=9, absolute_seconds=1_500).planned(600, 12)
    assert (own.deadline_seconds, own.reach_seconds) == (1_200, 1_500)


def test_an_extension_past_the_guard_ends_at_the_guard():
    clock = Clock(START)
    clock.allow(1_200)
    clock.reach(1_500)
    assert [clock.extend(200), clock.extend(200), clock.extend(200)] == [200, 100, 0]
    assert clock.deadline_at == at(1_500)


def test_a_child_run_is_never_extended_past_what_its_parent_has_left():
    clock = Clock(START)
    clock.cap(1_300)
    clock.allow(1_200)
    clock.reach(9_000)
    assert clock.extend(600) == 100


@pytest.mark.parametrize(
    "wrong",
    [
        {"backstop": 1.0},
        {"backstop": 0.5},
        {"backstop": float("nan")},
        {"idle_seconds": 2.9},
        {"extensions": -1},
        {"extend_seconds": 0},
        {"tier": "fast"},
        {"kind": "own", "tier": "fast"},
        {"kind": ""},
        {"unknown": 1},
    ],
)
def test_a_wrong_critic_is_refused(wrong):
    with pytest.raises(ValidationError):
        CriticConfig.model_validate(wrong)


# -- when --------------------------------------------------------------------------------------


def test_silence_is_looked_at_once_it_has_lasted():
    assert next_look(PLAN, CriticState(), at(0), at(1_200), 1) == (at(600), "idle")
    assert next_look(PLAN, CriticState(), at(50), at(1_200), 1) == (at(650), "idle")
    assert next_look(PLAN, CriticState(seen_at=at(90)), at(50), at(1_200), 1) == (at(690), "idle")


def test_a_run_that_works_is_looked_at_once_before_its_deadline():
    assert next_look(PLAN, CriticState(), at(700), at(1_200), 1) == (at(1_140), "deadline")
    done = CriticState(reviewed=at(1_200))
    assert next_look(PLAN, done, at(700), at(1_200), 1) == (at(1_300), "idle")


def test_a_watchdog_that_has_nothing_left_to_give_looks_no_more():
    spent = CriticState(extensions=1)
    assert next_look(PLAN, spent, at(700), at(1_800), 0) is None
    assert next_look(HOST, spent, at(700), at(1_800), 0) == (at(1_300), "idle")


def test_a_silence_that_was_looked_at_is_looked_at_again_an_idle_time_later():
    state = CriticState(looked_at=at(600), judged_at=at(600), extensions=1)
    assert next_look(HOST, state, at(0), at(9_000), 0) == (at(1_200), "idle")


@pytest.mark.parametrize(
    ("cause", "active", "judged", "asks"),
    [
        ("idle", 0, None, True),
        ("idle", 1, None, False),
        ("idle", 0, 0, False),
        ("deadline", 599, None, True),
        ("deadline", 599, 599, False),
        ("deadline", 599, 500, True),
    ],
)
def test_each_silence_is_decided_on_once(cause, active, judged, asks):
    judged_at = None if judged is None else at(judged)
    assert must_ask(cause, at(600), at(active), judged_at, 600) is asks


# -- decisions ---------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    set_time(monkeypatch, lambda: START)
    monkeypatch.setattr(workflow, "cancellation_reason", lambda: None)
    run = Run(RunKey(run_id="r", workflow_run_id="w"))
    run.plan = plan(max_iterations=12).model_copy(update={"critic": HOST})
    run.allowance = Allowance.of(run.plan)
    run.clock.allow(HOST.deadline_seconds)
    run.clock.reach(HOST.reach_seconds)
    return run


def decide(run: Run, *decisions: CriticDecision) -> None:
    watch = Watch(run, Controls(run))
    for decision in decisions:
        watch._apply(HOST, decision, "idle", START)


def names(run: Run) -> list[str]:
    return [event.name for event in run.ledger.events]


def test_kill_then_extend_stays_killed(run):
    later = CriticDecision(extend=600, nudge="go on", raise_steps=5)
    decide(run, CriticDecision(kill="hangs"), later, CriticDecision(kill="again"))
    assert (run.stop_why.status, run.stop_why.reason) == (Status.KILLED, Reason.CRITIC)
    assert run.stop_why.error == "killed by the critic: hangs"
    assert (run.clock.deadline_at, run.allowance.iterations) == (at(1_200), 12)
    assert len(run.steer) == 0


def test_a_kill_after_a_stop_changes_nothing(run):
    Controls(run).cancel(("enough", "ann"))
    decide(run, CriticDecision(kill="hangs"))
    assert run.stop_why.status is Status.CANCELLED


def test_extensions_are_counted_and_each_gives_so_much_at_most(run):
    decide(run, CriticDecision(extend=1e300), CriticDecision(extend=1))
    assert run.clock.deadline_at == at(1_800)
    assert run.critic.extensions == 1
    assert names(run) == ["extended", "extension_refused"]


def test_a_huge_raise_saturates_and_never_lowers(run):
    decide(run, CriticDecision(raise_steps=10**40))
    assert run.allowance.iterations == 100_000
    run.allowance.iterations = 200_000
    decide(run, CriticDecision(raise_steps=1))
    assert run.allowance.iterations == 200_000


def test_the_critic_speaks_after_people_and_tools(run):
    decide(run, CriticDecision(nudge="look left"))
    run.steer.put("hello", by="ann")
    run.steer.put("by the way", source="tool.dig")
    said = run.steer.take()
    assert [s.text for s in said] == ["hello", "by the way", "[critic] look left"]
    assert run.steer.take() == []


def test_a_decision_that_says_nothing_leaves_the_run_as_it_is(run):
    decide(run, CriticDecision(why="all is well"))
    assert names(run) == []
    assert run.critic.judged_at == START


@pytest.mark.parametrize("wrong", [{"extend": -1}, {"extend": float("nan")}, {"raise_steps": -1}])
def test_a_decision_that_cannot_be_is_refused_where_it_is_made(wrong):
    with pytest.raises(ValidationError):
        CriticDecision(**wrong)


def test_the_clock_of_a_watched_run_gives_time_outs_room_for_its_extensions(monkeypatch):
    set_time(monkeypatch, lambda: at(200))
    clock = Clock(START)
    clock.allow(1_200)
    assert clock.seconds_reach() == clock.seconds_left() == 1_000
    clock.reach(1_800)
    assert (clock.seconds_left(), clock.seconds_reach()) == (1_000, 1_600)
