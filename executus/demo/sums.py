"""What the offline demo works out, and from which numbers."""

from collections.abc import Sequence
from typing import NamedTuple

from executus.demo.evidence import Amount, amounts, amounts_of, limit_of
from executus.demo.view import View

PLUS_SIGNS = 20
"""Numbers that are joined by plus signs; more stand in sum(...)."""
MAX_AMOUNTS = 250
"""Numbers in one calculation."""


class Sum(NamedTuple):
    """Something to work out."""

    label: str
    """What it is, for people."""
    expression: str
    """For the tool `calculate`."""
    amounts: tuple[Amount, ...]
    """The numbers in it."""
    left_out: int = 0
    """Numbers that found no room in it."""


def plan_sums(view: View) -> list[Sum]:
    """What to work out, from the question and the files that were read; perhaps nothing."""
    question = view.question
    if question.arithmetic:
        return [Sum("the result", question.arithmetic, ())]
    if not question.wants - {"money"}:
        return []
    if "difference" in question.wants and len(question.names) == 2:  # noqa: PLR2004 - a pair
        return _difference(view)
    found = amounts(view.files, question)
    if len(found) == 0 or (len(found) == 1 and "left" not in question.wants):
        return []  # one number is a fact, not a sum
    total = _total(found, average="average" in question.wants)
    return [total, *_left(view, total)]


def _total(found: Sequence[Amount], *, average: bool) -> Sum:
    used = found[:MAX_AMOUNTS]
    left_out = len(found) - len(used)
    if average:
        return Sum("the average", f"({_plus(used)}) / {len(used)}", tuple(used), left_out)
    return Sum("the total", _plus(used), tuple(used), left_out)


def _left(view: View, total: Sum) -> list[Sum]:
    question = view.question
    limit = limit_of(view.files, question) if question.limit else None
    if limit is None or "left" not in question.wants:
        return []
    expression = f"{limit.value:f} - ({total.expression})"
    return [Sum(f"what is left of the {question.limit}", expression, (limit,), total.left_out)]


def _difference(view: View) -> list[Sum]:
    sides = [amounts_of(view.files, view.question, (name,)) for name in view.question.names]
    if not all(sides):
        return []
    used = [side[: MAX_AMOUNTS // 2] for side in sides]
    expression = " - ".join(f"({_plus(side)})" for side in used)
    label = f"the difference between {' and '.join(view.question.names)}"
    left_out = sum(map(len, sides)) - sum(map(len, used))
    return [Sum(label, expression, tuple(amount for side in used for amount in side), left_out)]


def _plus(numbers: Sequence[Amount]) -> str:
    texts = [f"{amount.value:f}" for amount in numbers]
    return " + ".join(texts) if len(texts) <= PLUS_SIGNS else f"sum({', '.join(texts)})"
