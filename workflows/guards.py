"""Loop guards: deterministic, result-aware, first a nudge and then a stop.

A poll whose answer changes is progress. A call that brings what it brought before is not, and
neither is a cycle of calls that brings nothing new.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from executus.digest import digest
from executus.message import ToolCallPart, ToolResultPart
from executus.status import Reason

MAX_KNOWN = 2_000
"""Pairs remembered. A loop longer than that is met by the iteration limit."""
NUDGE_ERRORS = (
    "[executus] Every tool call of your last {count} steps failed. Read the errors, change your "
    "approach or answer with what you have; the run stops after {limit} such steps in a row."
)
NUDGE_SAME = (
    "[executus] You called `{name}` with the same arguments {count} times and got the same result. "
    "It will not change. Use what you have, try something else, or answer now; the run stops if it "
    "happens again."
)
STOP_ERRORS = "every tool call failed in {count} steps in a row"
STOP_SAME = "`{name}` was called {count} times with the same arguments and the same result"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guards say after a step."""

    nudge: str | None = None
    """Append this user message and go on."""
    stop: Reason | None = None
    """End the run."""
    why: str = ""
    """For people."""


GO = Verdict()


@dataclass(slots=True)
class Guards:
    """State of the guards of one run; plain values, so it can be carried over."""

    tool_errors: int
    """All-error steps in a row before the stop; 0 = off."""
    same_tool_calls: int
    """Identical calls with identical results before the stop; 0 = off."""
    errors: int = 0
    """All-error steps in a row so far."""
    streaks: dict[str, int] = field(default_factory=dict[str, int])
    """Digest of (call, result) -> times seen since something new was learnt."""
    known: dict[str, None] = field(default_factory=dict[str, None])
    """The newest (call, result) digests, oldest first: what is not here is news."""

    def after_step(
        self, calls: Sequence[ToolCallPart], results: Sequence[ToolResultPart]
    ) -> Verdict:
        """Take in one step's calls and results, in call order; a step without any says nothing."""
        if not calls:
            return GO
        pairs = list(zip(calls, results, strict=True))
        verdict = self._count_errors([result for _, result in pairs])
        same = self._count_same(pairs)
        if verdict.stop or (verdict.nudge and not same.stop):
            return verdict
        return same

    def _count_errors(self, results: Sequence[ToolResultPart]) -> Verdict:
        failed = all(result.outcome != "ok" for result in results)
        self.errors = self.errors + 1 if failed else 0
        limit = self.tool_errors
        if not limit or not failed:
            return GO
        if self.errors >= limit:
            return Verdict(stop=Reason.TOOL_ERRORS, why=STOP_ERRORS.format(count=self.errors))
        if self.errors == limit - 1:
            return Verdict(nudge=NUDGE_ERRORS.format(count=self.errors, limit=limit))
        return GO

    def _count_same(self, pairs: Sequence[tuple[ToolCallPart, ToolResultPart]]) -> Verdict:
        """Count each distinct (call, result) of the step once: twice at once is clumsy only."""
        if not self.same_tool_calls:
            return GO
        limit = max(2, self.same_tool_calls)  # once is no repetition
        seen = {_pair_digest(call, result): call.name for call, result in pairs}
        if any(key not in self.known for key in seen):
            self._learn(seen)
        for key in seen:
            self.streaks[key] = self.streaks.get(key, 0) + 1
        key = max(seen, key=lambda key: self.streaks[key])
        name, count = seen[key], self.streaks[key]
        if count >= limit:
            return Verdict(stop=Reason.TOOL_LOOP, why=STOP_SAME.format(name=name, count=count))
        if count == limit - 1 and count > 1:
            return Verdict(nudge=NUDGE_SAME.format(name=name, count=count))
        return GO

    def _learn(self, seen: Iterable[str]) -> None:
        """Something new was learnt: old repeats are forgiven."""
        self.streaks.clear()
        self.known.update(dict.fromkeys(seen))
        while len(self.known) > MAX_KNOWN:
            del self.known[next(iter(self.known))]


def _pair_digest(call: ToolCallPart, result: ToolResultPart) -> str:
    # The digest of the whole result, where it is known: a cut one says less, and more is to read.
    said = result.digest or result.text
    text = f"{call.name}\x00{call.arguments}\x00{result.outcome}\x00{said}"
    return digest(text.encode("utf-8", "replace"))
