"""One pass over a tier's chain, inside one attempt of the model activity.

Temporal is the only retry layer: a target that may be asked again is not asked again here, the
attempt fails and Temporal brings the next one. What earlier attempts of the same step learned
travels in `AttemptMemory`, which the activity keeps in its heartbeat details.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pydantic import ConfigDict, Field

from executus.contracts import Failover
from executus.data import Data
from executus.errors import SKIP_FAULTS, ExecutusError, ModelError, ModelFault
from executus.models.health import Health
from executus.models.provider import ModelReply
from executus.plan import ModelTarget

PATIENCE = 5.0
"""Seconds a provider may ask us to wait before the next target is asked instead."""
MAX_FAILOVERS = 32
"""Failovers remembered; the oldest goes first."""
MAX_WISH = 86_400.0
"""Seconds of the longest wait handed on: a provider may ask for anything."""


class AttemptMemory(Data):
    """What the attempts of one model step know of each other. Changed in place by `answer`."""

    model_config = ConfigDict(frozen=False)

    failures: dict[str, int] = Field(default_factory=dict[str, int])
    """Transient failures per spec in the current round."""
    passed: tuple[str, ...] = ()
    """Specs that cannot serve this step at all (unknown model, unsupported content)."""
    failovers: tuple[Failover, ...] = ()
    """Who did not answer, oldest first; one entry per target and fault."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply and how it came about."""

    reply: ModelReply
    """The reply."""
    target: ModelTarget
    """Who gave it."""
    failovers: tuple[Failover, ...]
    """Who did not, in all attempts of this step."""


class ChainFailed(ExecutusError):
    """No target answered in this attempt; the message names every target and its reason."""

    def __init__(
        self,
        message: str,
        *,
        fault: str,
        final: bool,
        retry_after: float | None,
        failovers: tuple[Failover, ...],
    ) -> None:
        super().__init__(message)
        self.fault = fault
        """`executus.errors.ModelFault` of the decisive failure."""
        self.final = final
        """Another attempt would not help."""
        self.retry_after = retry_after
        """Seconds to wait before the next attempt; None leaves it to the retry policy."""
        self.failovers = failovers
        """Every target and its reason."""


Call = Callable[[ModelTarget], Awaitable[ModelReply]]
"""Makes one call of a target; raises `ModelError`. Anything else it raises passes through."""


def _never() -> bool:
    return False


async def answer(
    targets: Sequence[ModelTarget],
    call: Call,
    memory: AttemptMemory,
    health: Health,
    *,
    retry_same: int = 1,
    own_deadline: Callable[[], bool] = _never,
) -> Answer:
    """Ask the targets in order until one answers.

    Benched targets are skipped. A target that fails in a transient way is asked again, by the
    next Temporal attempt, up to `retry_same` times before the next one gets its turn; it loses
    that claim when its failure benched it, or when it asks for a wait longer than 5 s while
    another target is free. Targets that cannot serve the request are passed without penalty.
    When every target is benched, the one that recovers first is asked all the same.

    `own_deadline` tells whether our own time is up: a failure then counts against nobody, and no
    further target is asked. A cancel passes through and counts against nobody either.

    Raises:
        ChainFailed: when no target answered; `final` says whether another attempt may help.
    """
    if not targets:
        raise ValueError("a chain needs at least one target")
    run = _Pass(targets, memory, health, retry_same)
    decisive = run.nobody()
    while (target := run.next_target()) is not None:
        try:
            reply = await call(target)
        except ModelError as failure:
            error = failure
        else:
            health.success(target.spec)
            return Answer(reply, target, memory.failovers)
        run.note(target, error)
        if error.transient or not decisive.transient:
            decisive = error
        if own_deadline():
            raise run.failed(error, final=False, wait=None)
        if error.fault in SKIP_FAULTS:
            memory.passed = (*memory.passed, target.spec)
        elif not error.transient:
            raise run.failed(error, final=True, wait=None)
        elif run.ask_again(target, error):
            raise run.failed(error, final=False, wait=run.wait_for(target, error))
    raise run.failed(decisive, final=run.hopeless, wait=run.soonest())


class _Pass:
    """The state of one pass: who is still to be asked, and why the others were not."""

    def __init__(
        self, targets: Sequence[ModelTarget], memory: AttemptMemory, health: Health, retry_same: int
    ) -> None:
        self._targets = {target.spec: target for target in targets}
        self._memory = memory
        self._health = health
        self._tries = 1 + retry_same
        self._asked: set[str] = set()
        self._wishes: dict[str, float] = {}
        self._reasons: dict[str, Failover] = {}
        self._new_round()

    @property
    def hopeless(self) -> bool:
        """No target can serve this request, now or later."""
        return not self._able()

    def _able(self) -> list[str]:
        return [spec for spec in self._targets if spec not in self._memory.passed]

    def _open(self, spec: str) -> bool:
        return self._health.benched_for(spec) <= 0 and self._left(spec) > 0

    def _left(self, spec: str) -> int:
        return self._tries - self._memory.failures.get(spec, 0)

    def _new_round(self) -> None:
        """When everyone who may be called has used up their tries, everyone gets new ones."""
        free = [spec for spec in self._able() if self._health.benched_for(spec) <= 0]
        if free and not any(self._left(spec) > 0 for spec in free):
            self._memory.failures = {}

    def next_target(self) -> ModelTarget | None:
        """The next one to ask, in chain order; None when the pass is over."""
        for spec in self._able():
            if spec in self._asked:
                continue
            if self._open(spec):
                return self._ask(spec)
            self._skip(spec)
        if self._asked & set(self._able()) or not self._able():
            return None
        return self._ask(min(self._able(), key=self._health.benched_for))

    def _ask(self, spec: str) -> ModelTarget:
        self._asked.add(spec)
        return self._targets[spec]

    def _skip(self, spec: str) -> None:
        left = self._health.benched_for(spec)
        if left > 0 and spec not in self._reasons:
            message = f"benched for {left:.0f} s after failures"
            self._record(Failover(spec=spec, fault="benched", message=message, retry_after=left))

    def note(self, target: ModelTarget, error: ModelError) -> None:
        """Record a failure, and who else was passed over."""
        wish = error.retry_after
        if wish is not None:
            self._wishes[target.spec] = wish
        self._record(
            Failover(
                spec=target.spec, fault=error.fault, message=str(error)[:500], retry_after=wish
            )
        )

    def _record(self, failover: Failover) -> None:
        self._reasons[failover.spec] = failover
        key = (failover.spec, failover.fault)
        others = [f for f in self._memory.failovers if (f.spec, f.fault) != key]
        self._memory.failovers = (*others, failover)[-MAX_FAILOVERS:]

    def ask_again(self, target: ModelTarget, error: ModelError) -> bool:
        """Count a transient failure; whether Temporal shall bring us back to this target."""
        spec, failures = target.spec, self._memory.failures
        self._memory.failures = {**failures, spec: failures.get(spec, 0) + 1}
        self._health.failure(spec, error.retry_after)
        if not self._open(spec):
            return False
        others = any(self._open(other) for other in self._able() if other not in self._asked)
        return not (others and (error.retry_after or 0.0) > PATIENCE)

    def wait_for(self, target: ModelTarget, error: ModelError) -> float | None:
        """Seconds until `target` should be asked again."""
        wish, left = error.retry_after, self._health.benched_for(target.spec)
        waits = [w for w in (wish, left) if w]
        return min(max(waits), MAX_WISH) if waits else wish

    def soonest(self) -> float | None:
        """Seconds until the first target may answer; None when nothing is known."""
        waits = [
            max(self._wishes.get(spec, 0.0), self._health.benched_for(spec))
            for spec in self._able()
        ]
        return min(*waits, MAX_WISH) or None if waits else None

    def nobody(self) -> ModelError:
        """The error of a pass in which nobody could be asked: all were passed before."""
        faults = [f for f in self._memory.failovers if f.spec in self._memory.passed]
        fault: ModelFault = (
            "unsupported" if any(f.fault == "unsupported" for f in faults) else "not_found"
        )
        return ModelError("no target can serve this request", fault=fault, sent=False)

    def failed(self, error: ModelError, *, final: bool, wait: float | None) -> ChainFailed:
        """The outcome, with a sentence that names every target and its reason."""
        known = {f.spec: f for f in self._memory.failovers} | self._reasons
        told = "; ".join(
            f"{spec}: {known[spec].message} ({known[spec].fault})"
            for spec in self._targets
            if spec in known
        )
        return ChainFailed(
            f"no model answered: {told or error}"[:2_000],
            fault=error.fault,
            final=final,
            retry_after=wait,
            failovers=self._memory.failovers,
        )
