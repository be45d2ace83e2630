"""docs/seed.md: where each feature of the seed lives, and which test shows it. Held true here."""

import ast
import re
from dataclasses import fields as dataclass_fields
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from executus.agent import RunnableAgent
from executus.critic import CriticConfig
from executus.delivery_target import DeliveryTarget
from executus.invocation import Invocation
from executus.limits import Defaults, Limits
from executus.phase import Phase
from executus.ports import Ports
from executus.request import RunRequest

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| ([0-9A-Z.]+) \| (.+?) \| (.+?) \| (.+) \|$")
SPAN = re.compile(r"`([^`]+)`")
PLACE = re.compile(r"^(?:executus|workflows|activities|docs|examples|bench|pyproject)[\w/.]*")
BUGS = [
    *(f"F{n}" for n in (*range(1, 10), 11, 12, 13)),
    *(f"S{n}" for n in range(1, 8)),
    *(f"B{n}" for n in range(1, 41)),
    *(f"R{n}" for n in range(1, 14)),
    "G",
]
"""Section 22, in its order. The seed's F10 was judged to be none."""
CHECKS = [f"C{n}" for n in range(1, 37)]
"""Section 23, in its order."""


def rows() -> list[tuple[str, str, str, str]]:
    lines = (ROOT / "docs" / "seed.md").read_text().splitlines()
    return [match.groups() for line in lines if (match := ROW.match(line))]  # type: ignore[misc]


@cache
def names_in(path: Path) -> frozenset[str]:
    """Classes, functions, `Class.member`, and module constants of a file."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            found |= {node.name, *(f"{node.name}.{name}" for name in _members(node))}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(found)


def _members(node: ast.ClassDef) -> set[str]:
    inside = {
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    own = {
        item.attr
        for item in ast.walk(node)
        if isinstance(item, ast.Attribute) and isinstance(item.ctx, ast.Store)
    }
    methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
    methods |= {item.name for item in node.body if isinstance(item, ast.AsyncFunctionDef)}
    return inside | own | methods


def problem(base: Path, span: str) -> str | None:
    """What is not there of `path` or `path::symbol`."""
    path, _, symbol = span.partition("::")
    if not (base / path).exists():
        return f"no file {path}"
    if symbol and symbol not in names_in(base / path):
        return f"no {symbol} in {path}"
    return None


def test_every_row_names_places_and_tests_that_are_there():
    wrong = []
    for ident, _, here, shown in rows():
        places = [span for span in SPAN.findall(here) if PLACE.match(span) and "/" in span]
        tests = SPAN.findall(shown)
        if not tests or not all("::test_" in test for test in tests):
            wrong.append(f"{ident}: no test")
        found = [problem(ROOT, place) for place in places]
        found += [problem(ROOT / "tests", test) for test in tests]
        wrong += [f"{ident}: {text}" for text in found if text]
    assert not wrong, "\n".join(wrong)


def test_every_section_bug_and_check_of_the_seed_has_a_row():
    idents = [ident for ident, *_ in rows()]
    assert len(idents) == len(set(idents)), "an id is there twice"
    assert [ident for ident in idents if ident[0] in "FSBRG"] == BUGS
    assert [ident for ident in idents if ident[0] == "C"] == CHECKS
    numbered = [tuple(map(int, i.split("."))) for i in idents if i[0].isdigit()]
    sections = {section for section, _ in numbered}
    assert sections == {*range(1, 22), 24}
    for section in sections:
        numbers = [number for at, number in numbered if at == section]
        assert numbers == list(range(1, len(numbers) + 1)), (
            f"section {section}: a number is missing"
        )


def test_no_line_of_the_tables_is_left_out_of_these_checks():
    lines = (ROOT / "docs" / "seed.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("| ") and not line.startswith("| |")]
    assert len(table) == len(rows())


@cache
def attributes_read() -> frozenset[str]:
    """Every attribute that the sources read."""
    files = [
        p for top in ("executus", "workflows", "activities") for p in (ROOT / top).rglob("*.py")
    ]
    return frozenset(
        node.attr
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    )


@pytest.mark.parametrize(
    "model",
    [
        RunRequest,
        RunnableAgent,
        Invocation,
        Limits,
        Defaults,
        Phase,
        CriticConfig,
        DeliveryTarget,
        Ports,
    ],
    ids=lambda model: model.__name__,
)
def test_every_field_that_is_accepted_is_read_somewhere(model):
    """The seed's general lesson: a port or field that is accepted but not driven is a bug."""
    if issubclass(model, BaseModel):
        accepted = set(model.model_fields)
    else:
        accepted = {item.name for item in dataclass_fields(model)}
    assert accepted <= attributes_read(), sorted(accepted - attributes_read())
