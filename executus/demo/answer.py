"""The offline demo's answer: numbers and where they stand, lines that fit the question, a label."""

from collections.abc import Iterator
from decimal import Decimal

from executus.demo.evidence import Amount, Line, lines_of, table_of
from executus.demo.question import matches
from executus.demo.sums import Sum, plan_sums
from executus.demo.view import Done, View
from executus.sanitize import clean_line

LABEL = (
    "[Offline demo: a fixed script chose the tool calls and put this answer together."
    " No language model was used.]"
)
MAX_SOURCES = 20
"""Numbers shown with their places."""
MAX_FACTS = 6
"""Lines shown when there is nothing to work out; half as many besides a number."""
LINE_WIDTH = 160
NAME_WEIGHT = 3


def answer(view: View) -> str:
    """The answer with its sources, and the label that no model wrote it."""
    parts = [*_numbers(view), *_facts(view)] or [_nothing(view)]
    return "\n".join([*parts, *_warnings(view), "", LABEL])


def _numbers(view: View) -> Iterator[str]:
    results = view.calls("calculate")
    for item, done in zip(plan_sums(view), results, strict=False):
        yield _result(item, done)
        yield from (f"- {_shown(a.value, a.value)} from {_place(a)}" for a in _first(item))
        hidden = len(item.amounts) - MAX_SOURCES
        if hidden > 0:
            yield f"- and {hidden} more numbers"
        if item.left_out:
            yield f"- {item.left_out} further numbers found no room in this calculation"


def _first(item: Sum) -> tuple[Amount, ...]:
    return item.amounts[:MAX_SOURCES]


def _result(item: Sum, done: Done) -> str:
    label = item.label[:1].upper() + item.label[1:]
    if not done.text:
        return (
            f"{label} could not be worked out: {done.result.text if done.result else 'no result'}"
        )
    value = _shown(_decimal(done.text), *(amount.value for amount in item.amounts))
    return f"{label} is {value or done.text}" + (":" if item.amounts else ".")


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except ArithmeticError:
        return None


def _shown(value: Decimal | None, *like: Decimal) -> str:
    """Grouped, and with as many decimals as the numbers that it comes from."""
    if value is None:
        return ""
    exponents = [n.as_tuple().exponent for n in like]
    places = max((-e for e in exponents if isinstance(e, int)), default=0)
    fits = value == round(value, places)
    return f"{round(value, places):,}" if fits and places > 0 else f"{value:,}"


def _place(amount: Amount) -> str:
    return _cited(amount.line)


def _cited(line: Line) -> str:
    return f"{line.path} line {line.number}: {clean_line(line.text, LINE_WIDTH)}"


def _facts(view: View) -> list[str]:
    """The lines that hold most of what was asked."""
    if view.question.arithmetic:
        return []
    scored = [(_score(view, line), line) for line in _lines(view)]
    best = max((score for score, _ in scored), default=0)
    good = [(score, line) for score, line in scored if score and score * 2 > best]
    good.sort(key=lambda entry: -entry[0])
    has_numbers = bool(view.calls("calculate"))
    chosen = good[: MAX_FACTS // 2 if has_numbers else MAX_FACTS]
    if not chosen:
        return []
    title = "Lines that speak to the question as well:" if has_numbers else "What the files say:"
    return [title, *(f"- {_cited(line)}" for _, line in chosen)]


def _lines(view: View) -> Iterator[Line]:
    cited = [amount.line for item in plan_sums(view) for amount in item.amounts]
    for path, text in view.files.items():
        table = table_of(path, text)
        if table is None:
            yield from (line for line in lines_of(path, text) if line not in cited)
        elif not view.calls("calculate"):
            for row, line in zip(table.rows, table.lines, strict=True):
                cells = (f"{title} {cell}" for title, cell in zip(table.header, row, strict=True))
                yield line._replace(text=", ".join(cells))


def _score(view: View, line: Line) -> int:
    where = f"{line.heading} {line.text}"
    names = sum(matches(name, where) for name in view.question.names)
    words = sum(matches(word, where) for word in view.question.words)
    return NAME_WEIGHT * names + words


def _warnings(view: View) -> list[str]:
    cut = [
        f"Only a part of {path} was read: numbers from it are not complete." for path in view.cut
    ]
    unread = [] if view.question.arithmetic else view.unread
    return [*cut, *([f"Not read: {', '.join(unread)}."] if unread else [])]


def _nothing(view: View) -> str:
    if not view.done:
        return "Nothing was looked up: the tools of the folder demo were not there."
    terms = ", ".join(f'"{term}"' for term in view.question.terms) or "the question"
    files = ", ".join(view.paths[:MAX_SOURCES]) or "none"
    return f"No file says anything about {terms}. Files in the folder: {files}."
