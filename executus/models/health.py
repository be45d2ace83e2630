"""Which targets are worth a call right now.

In memory, per worker process, keyed by spec. A target is benched after two consecutive failed
attempts, for 5 s, doubling up to 5 minutes with each failure after a bench ran out; any success
forgets everything. Only the model chain reports here, and only faults that say something about
the target: never our own deadline, a cancel, or a bad request.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

THRESHOLD = 2
"""Consecutive failed attempts that bench a target."""
FIRST_BENCH = 5.0
"""Seconds of the first bench."""
LONGEST_BENCH = 300.0
"""Seconds of the longest bench."""


@dataclass(frozen=True, slots=True)
class TargetHealth:
    """What is known of one target."""

    failures: int
    """Consecutive failed attempts."""
    benched_for: float
    """Seconds until it may be called again; 0 when it may."""


@dataclass(slots=True)
class _State:
    failures: int = 0
    benches: int = 0
    until: float = 0.0


class Health:
    """Health of model targets; not thread-safe, one event loop owns it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._targets: dict[str, _State] = {}

    def success(self, spec: str) -> None:
        """It answered: forget its failures."""
        self._targets.pop(spec, None)

    def failure(self, spec: str, retry_after: float | None = None) -> None:
        """It failed. A bench lasts at least as long as the provider asked for (up to 5 minutes).

        Failures that arrive during a bench come from calls that were under way when it began:
        they do not lengthen it, or one outage under load would cost the full five minutes.
        """
        state = self._targets.setdefault(spec, _State())
        if self._left(state) > 0:
            return
        state.failures += 1
        if state.failures >= THRESHOLD:
            cooldown = FIRST_BENCH * 2 ** min(state.benches, 10)
            state.benches += 1
            self._bench(state, max(cooldown, retry_after or 0.0))

    def bench(self, spec: str, seconds: float = LONGEST_BENCH) -> None:
        """Bench by hand, for at most 5 minutes."""
        self._bench(self._targets.setdefault(spec, _State()), seconds)

    def unbench(self, spec: str) -> None:
        """Forget everything about it."""
        self._targets.pop(spec, None)

    def benched_for(self, spec: str) -> float:
        """Seconds until it may be called; 0 when it may be called now."""
        state = self._targets.get(spec)
        return self._left(state) if state is not None else 0.0

    def snapshot(self) -> dict[str, TargetHealth]:
        """Every target that has failed since its last success."""
        return {
            spec: TargetHealth(state.failures, self._left(state))
            for spec, state in self._targets.items()
        }

    def _bench(self, state: _State, seconds: float) -> None:
        state.until = self._clock() + min(seconds, LONGEST_BENCH)

    def _left(self, state: _State) -> float:
        return max(0.0, state.until - self._clock())
