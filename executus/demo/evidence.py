"""What the offline demo reads out of files: table rows, amounts, and lines that say something."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from executus.demo.question import Question, matches

MONEY_HEADER = re.compile(
    r"amount|total|cost|price|revenue|sum|value|eur|usd|gbp|chf|fee|net|gross|salary|sales|spend"
)
LABEL_HEADER = re.compile(r"(?:^|[_\s])(?:id|no|nr|number|year|zip|code|phone)(?:$|[_\s])")
NUMBER = re.compile(r"(?<![\w.,-])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w-]|[.,]\d)")
COMMA_DECIMAL = re.compile(r"-?\d+,\d{1,2}")
MOSTLY = 0.8
"""Share of a column's cells that must be numbers."""


class Line(NamedTuple):
    """A line of a file."""

    path: str
    number: int
    text: str
    heading: str = ""
    """The heading it stands under."""


class Amount(NamedTuple):
    """A number, and where it stands."""

    value: Decimal
    line: Line


class Table(NamedTuple):
    """A table: one line per row."""

    path: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[Line, ...]


def parse_number(cell: str) -> Decimal | None:
    """The number in a table cell, with or without a currency around it."""
    text = re.sub(r"[\s€$£%]|\b[A-Z]{3}\b", "", cell)
    if COMMA_DECIMAL.fullmatch(text):
        text = text.replace(",", ".")
    return Decimal(text.replace(",", "")) if NUMBER.fullmatch(text) else None


def lines_of(path: str, text: str) -> Iterator[Line]:
    """The lines of a text file that say something, each with its heading."""
    heading = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.strip():
            yield Line(path, number, line.strip(), heading)


def table_of(path: str, text: str) -> Table | None:
    """The table in a CSV or TSV file; None for any other file."""
    if not path.lower().endswith((".csv", ".tsv")):
        return None
    source = text.splitlines()
    delimiter = max(",;\t", key=source[0].count) if source else ","
    rows = [tuple(cell.strip() for cell in row) for row in _rows(source, delimiter)]
    body = [(i, row) for i, row in enumerate(rows[1:], start=2) if len(row) == len(rows[0])]
    if not body:
        return None
    lines = tuple(Line(path, i, ", ".join(row)) for i, row in body)
    return Table(path, tuple(c.lower() for c in rows[0]), tuple(row for _, row in body), lines)


def _rows(source: Sequence[str], delimiter: str) -> list[list[str]]:
    try:
        return list(csv.reader(source, delimiter=delimiter))
    except csv.Error:  # a field beyond csv's own limit
        return []


def amounts(files: Mapping[str, str], question: Question) -> list[Amount]:
    """The numbers that the question is about; a name that is none counts as its words."""
    found = amounts_of(files, question, question.names)
    return found or (amounts_of(files, question, ()) if question.names else [])


def amounts_of(files: Mapping[str, str], question: Question, names: Sequence[str]) -> list[Amount]:
    """The numbers about `names`: from tables, or else from lines of text."""
    tables = [t for path, text in files.items() if (t := table_of(path, text))]
    # A column that the question names is meant; else one that holds money, if that is asked.
    for pick in (_named_column, _money_column, _last_column):
        if pick is _last_column and "money" in question.wants:
            break
        found = [a for t in tables for a in _from_table(t, pick(t, question), question, names)]
        if found:
            return found
    return _from_lines(files, question, names)


def _from_table(
    table: Table, column: int | None, question: Question, names: Sequence[str]
) -> list[Amount]:
    if column is None:
        return []
    chosen = _chosen_rows(table, question, names)
    cells = ((parse_number(table.rows[i][column]), table.lines[i]) for i in chosen)
    return [Amount(value, line) for value, line in cells if value is not None]


def _chosen_rows(table: Table, question: Question, names: Sequence[str]) -> list[int]:
    """Rows that the terms point at: terms of one column are alternatives, others must all hold."""
    groups: dict[int, list[str]] = {}
    for term in (*names, *question.words):
        hits = [_matching_columns(table, row, term) for row in table.rows]
        columns = [column for row in hits for column in row]
        if columns:
            groups.setdefault(max(set(columns), key=columns.count), []).append(term)
    if names and not any(term in names for terms in groups.values() for term in terms):
        return []
    return [
        i
        for i, row in enumerate(table.rows)
        if all(any(matches(t, row[c]) for t in terms) for c, terms in groups.items())
    ]


def _matching_columns(table: Table, row: tuple[str, ...], term: str) -> list[int]:
    if any(matches(term, title) for title in table.header):
        return []
    return [i for i, cell in enumerate(row) if parse_number(cell) is None and matches(term, cell)]


def _numeric(table: Table) -> list[int]:
    """Columns that hold numbers which can be added up."""
    found: list[int] = []
    for i, title in enumerate(table.header):
        cells = [row[i] for row in table.rows if row[i]]
        numbers = [cell for cell in cells if parse_number(cell) is not None]
        if cells and len(numbers) >= MOSTLY * len(cells) and not LABEL_HEADER.search(title):
            found.append(i)
    return found


def _named_column(table: Table, question: Question) -> int | None:
    terms = question.names + question.words
    titles = {i: table.header[i].replace("_", " ") for i in _numeric(table)}
    return next((i for i, title in titles.items() if any(matches(t, title) for t in terms)), None)


def _money_column(table: Table, question: Question) -> int | None:
    del question
    return next((i for i in _numeric(table) if MONEY_HEADER.search(table.header[i])), None)


def _last_column(table: Table, question: Question) -> int | None:
    del question
    return next(reversed(_numeric(table)), None)


def _from_lines(files: Mapping[str, str], question: Question, names: Sequence[str]) -> list[Amount]:
    """One number of each line that holds every name, or every word when there is no name."""
    terms = names or question.words
    found: list[Amount] = []
    for path, text in files.items():
        for line in () if table_of(path, text) else lines_of(path, text):
            if terms and all(matches(t, f"{line.heading} {line.text}") for t in terms):
                value = number_after(line, terms[-1])
                found += [Amount(value, line)] if value is not None else []
    return found


def number_after(line: Line, term: str) -> Decimal | None:
    """The first number behind `term` in the line, or else its last number."""
    place = line.text.lower().find(term)
    behind = NUMBER.findall(line.text, max(place, 0))
    every = behind[:1] or NUMBER.findall(line.text)[-1:]
    return parse_number(every[0]) if every else None


def limit_of(files: Mapping[str, str], question: Question) -> Amount | None:
    """The number that something is left of: from the last line with that noun and every name."""
    found: list[Amount] = []
    for line in (line for path in sorted(files) for line in lines_of(path, files[path])):
        where = f"{line.heading} {line.text}"
        if all(matches(term, where) for term in (question.limit, *question.names)):
            value = number_after(line, question.limit)
            found += [Amount(value, line)] if value is not None else []
    return found[-1] if found else None
