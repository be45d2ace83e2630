"""The offline demo's script: read what is attached, list, search, read, calculate, answer."""

import json
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from executus.demo.answer import answer
from executus.demo.sums import plan_sums
from executus.demo.view import View
from executus.files import READ_MORE

MAX_READ = 6
"""Files read: in parallel, in one turn."""
NAME_WEIGHT = 3.0
"""How much more a name says about a file than a common word."""


class Call(NamedTuple):
    """A tool call that the script wants."""

    name: str
    arguments: str


class Turn(NamedTuple):
    """One turn: words, and tool calls unless it is the answer."""

    text: str
    calls: tuple[Call, ...] = ()


def next_turn(view: View, tools: Collection[str]) -> Turn:
    """The first step of the script that is not done yet and has its tool; else the answer.

    After a compaction it answers at once, from what is left: the steps before may be folded away.
    """
    if not view.folded:
        for name, step in STEPS.items():
            if name in tools and not view.calls(name):
                turn = step(view)
                if turn.calls:
                    return turn
    return Turn(answer(view))


def _open(view: View) -> Turn:
    ids = list(view.attached)[:MAX_READ]
    if view.question.arithmetic or not ids:
        return Turn("")
    names = ", ".join(view.attached[file_id] for file_id in ids)
    return Turn(f"Reading {names}.", _calls(READ_MORE, [{"file_id": i} for i in ids]))


def _list(view: View) -> Turn:
    if view.question.arithmetic:
        return Turn("")
    return Turn("First, which files there are.", _calls("list_files", [{}]))


def _search(view: View) -> Turn:
    terms = view.question.terms
    if view.question.arithmetic or not terms:
        return Turn("")
    words = ", ".join(f'"{term}"' for term in terms)
    return Turn(f"Looking for {words}.", _calls("search_files", [{"text": t} for t in terms]))


def _read(view: View) -> Turn:
    best = best_files(view)
    if not best:
        return Turn("")
    return Turn(f"Reading {', '.join(best)}.", _calls("read_file", [{"path": p} for p in best]))


def _calculate(view: View) -> Turn:
    sums = plan_sums(view)
    labels = " and ".join(item.label for item in sums)
    calls = _calls("calculate", [{"expression": item.expression} for item in sums])
    return Turn(f"Working out {labels}.", calls)


STEPS = {
    READ_MORE: _open,
    "list_files": _list,
    "search_files": _search,
    "read_file": _read,
    "calculate": _calculate,
}
"""Tool -> its step, in order."""


def best_files(view: View) -> list[str]:
    """The files most worth reading: a rare term says more than one that stands everywhere."""
    names = view.question.names
    known = len(view.paths)
    scores: dict[str, float] = {}
    for term, files in view.hits.items():
        rarity = math.log(1 + max(known, len(files), 1) / max(1, len(files)))
        weight = (NAME_WEIGHT if term in names else 1.0) * rarity
        for path, lines in files.items():
            scores[path] = scores.get(path, 0.0) + weight + lines / 1_000
    return sorted(scores, key=lambda path: (-scores[path], path))[:MAX_READ]


def _calls(name: str, arguments: Sequence[dict[str, str]]) -> tuple[Call, ...]:
    return tuple(Call(name, json.dumps(item, ensure_ascii=False)) for item in arguments)
