from hypothesis import given
from hypothesis import strategies as st

from executus.models.health import Health, TargetHealth


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def made() -> tuple[Health, Clock]:
    clock = Clock()
    return Health(clock), clock


def test_one_failure_benches_nobody_and_two_do() -> None:
    health, _ = made()
    health.failure("a/1")
    assert health.benched_for("a/1") == 0
    health.failure("a/1")
    assert health.benched_for("a/1") == 5
    assert health.benched_for("b/1") == 0


def test_a_success_between_two_failures_forgets_the_first() -> None:
    health, _ = made()
    health.failure("a/1")
    health.success("a/1")
    health.failure("a/1")
    assert health.benched_for("a/1") == 0


def test_the_bench_doubles_up_to_five_minutes() -> None:
    health, clock = made()
    health.failure("a/1")
    lengths: list[float] = []
    for _ in range(9):
        health.failure("a/1")
        lengths.append(health.benched_for("a/1"))
        clock.now += lengths[-1]
    assert lengths == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_success_resets_the_length_too() -> None:
    health, clock = made()
    for _ in range(4):
        health.failure("a/1")
        clock.now += health.benched_for("a/1")
    health.success("a/1")
    health.failure("a/1")
    health.failure("a/1")
    assert health.benched_for("a/1") == 5


def test_failures_of_calls_under_way_do_not_lengthen_a_bench() -> None:
    health, clock = made()
    for _ in range(100):
        health.failure("a/1")
    assert health.benched_for("a/1") == 5
    clock.now += 5
    health.failure("a/1")
    assert health.benched_for("a/1") == 10


def test_a_bench_lasts_as_long_as_the_provider_asked_for_and_no_longer_than_five_minutes() -> None:
    health, _ = made()
    for spec, wish in (("a/1", 60.0), ("b/1", 1e9)):
        health.failure(spec, wish)
        assert health.benched_for(spec) == 0
        health.failure(spec, wish)
    assert health.benched_for("a/1") == 60
    assert health.benched_for("b/1") == 300


def test_an_operator_can_bench_unbench_and_look() -> None:
    health, _ = made()
    health.failure("b/1")
    health.bench("a/1", 30)
    assert health.snapshot() == {"a/1": TargetHealth(0, 30), "b/1": TargetHealth(1, 0)}
    health.unbench("a/1")
    assert health.benched_for("a/1") == 0


@given(st.lists(st.sampled_from(["fail", "ok", "wait 1", "wait 400"])))
def test_a_bench_is_never_longer_than_five_minutes_and_never_begins_with_one_failure(
    events: list[str],
) -> None:
    health, clock = made()
    failed = 0
    for event in events:
        match event.split():
            case ["fail"]:
                health.failure("a/1")
                failed += 1
            case ["ok"]:
                health.success("a/1")
                failed = 0
            case [_, seconds]:
                clock.now += float(seconds)
            case _:
                raise AssertionError
        left = health.benched_for("a/1")
        assert left <= 300
        assert not left or failed >= 2
