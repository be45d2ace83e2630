"""What of a run's chain still counts, after resets.

A reset begins another execution of the run from the middle of an earlier one. What lay behind that
point stays in the chain, marked as superseded; the outcome of the new execution is the run's. All
of it follows from the chain itself, so a proof computes the same.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from executus.audit import execution_of, step_of
from executus.stores.links import Draft, Link


@dataclass(frozen=True, slots=True)
class Reset:
    """An entry of a reset, read."""

    seq: int
    """Its place in the chain."""
    at: int
    """When it was asked for, in microseconds."""
    execution: str
    """The execution that it began."""
    line: frozenset[str]
    """Executions whose work that one goes on from, wholly or in part; empty = the first one."""
    back: frozenset[str]
    """Keys of steps' rows that it put something else in the place of."""
    fork_at: int
    """Workflow time of the task that was done anew first: what happened then or later is void."""

    @classmethod
    def of(cls, link: Link) -> "Reset":
        """Read it."""
        body = json.loads(link.body)
        line, back = frozenset(body["line"]), frozenset(body["back"])
        execution = execution_of(link.key)
        return cls(link.seq, link.at, execution, line, back, body["fork_at"])


def newest(links: Iterable[Link]) -> Reset | None:
    """The reset that was asked for last, whichever was told of last."""
    resets = [Reset.of(link) for link in links if link.entry == "reset"]
    return max(resets, key=lambda reset: (reset.at, -reset.seq), default=None)


def standing_close(links: Iterable[Link]) -> Link | None:
    """The close that is the run's outcome; None while it is open.

    Without a reset the first one. After one, the first of the execution that it began, or of one
    that this continued as: the record does not know that one by another name.
    """
    marks = [link for link in links if link.entry in {"close", "reset"}]
    last = newest(marks)
    closes = [link for link in marks if link.entry == "close"]
    if last is None:
        return next(iter(closes), None)
    known = _known(marks)
    for link in closes:
        execution = execution_of(link.key)
        if execution == last.execution or (link.seq > last.seq and execution not in known):
            return link
    return None


def made_close(links: Iterable[Link], draft: Draft) -> Link | None:
    """The close that is there in place of this one: of the same execution.

    Without a reset a run ends once, whoever says so: the run itself or the sweeper.
    """
    marks = [link for link in links if link.entry in {"close", "reset"}]
    closes = [link for link in marks if link.entry == "close"]
    if len(closes) < len(marks):
        closes = [link for link in closes if link.key == draft.key]
    return next(iter(closes), None)


def superseded(links: Sequence[Link]) -> dict[int, int]:
    """Places of entries that a reset put something else in the place of, and when it did."""
    found: dict[int, int] = {}
    resets = [Reset.of(link) for link in links if link.entry == "reset"]
    for reset in resets:
        steps = {step_of(e.key) for e in links if execution_of(e.key) == reset.execution} - {""}
        # Executions that were given up by then, or went on in this one; and those that came later,
        # though the record may have been told of them first.
        older = {other.execution for other in resets if other.at < reset.at} | reset.line
        newer = {other.execution for other in resets if other.at > reset.at}
        for link in links:
            if link.entry not in {"row", "close"} or execution_of(link.key) in newer:
                continue
            if _is_void(link, reset, older, steps):
                found[link.seq] = min(reset.at, found.get(link.seq, reset.at))
    return found


def _is_void(link: Link, reset: Reset, older: Collection[str], steps: Collection[str]) -> bool:
    """Whether the reset put something else in the place of this row or close."""
    execution, step = execution_of(link.key), step_of(link.key)
    before = link.seq < reset.seq
    if execution == reset.execution or (execution not in older and not before):
        return False
    if link.entry == "close" or execution not in reset.line:
        return True
    if step and before:
        return link.key in reset.back or step in steps
    return link.at >= reset.fork_at


def _known(links: Iterable[Link]) -> frozenset[str]:
    """Every execution that resets name."""
    resets = [Reset.of(link) for link in links if link.entry == "reset"]
    names = [{reset.execution} | reset.line for reset in resets]
    return frozenset[str]().union(*names)
