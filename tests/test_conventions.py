"""The house rules that a machine can check."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from executus import contracts

ROOT = Path(__file__).parent.parent
TOPS = ("executus", "workflows", "activities")
MAX_LINES = 400
PROVIDER_SDKS = {
    "openai": "executus/models/openai_",
    "anthropic": "executus/models/anthropic_",
    "mcp": "executus/mcp/",
    "mcp_types": "executus/mcp/",
}
JSON_TEXTS = {"model_dump_json", "json_text"}
"""What makes a text of JSON: its length is in characters."""
COUNTS_CHARACTERS = {"executus/models/scripted.py"}
"""Characters are what a scripted model's tokens are made from."""
MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
MUTABLE_CALLS = {"list", "dict", "set", "defaultdict", "deque", "OrderedDict", "bytearray"}
MUTATORS = {
    *("add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft"),
    *("remove", "reverse", "setdefault", "sort", "update"),
}


def sources() -> list[Path]:
    return sorted(
        file
        for top in TOPS
        for file in (ROOT / top).rglob("*.py")
        if not any((ROOT / part).is_symlink() for part in file.relative_to(ROOT).parents)
    )


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "executus" else ("executus", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


FILES = sources()
EACH_FILE = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))


def test_imports_go_down_only() -> None:
    program = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@EACH_FILE
def test_a_provider_sdk_is_imported_by_its_adapter_only(file: Path) -> None:
    path = str(file.relative_to(ROOT))
    for module in imports(ast.parse(file.read_text())):
        home = PROVIDER_SDKS.get(module.partition(".")[0])
        assert home is None or path.startswith(home), f"{path} imports {module}"


@EACH_FILE
def test_a_module_says_what_it_is_for_and_stays_readable(file: Path) -> None:
    text = file.read_text()
    assert ast.get_docstring(ast.parse(text)), "no module docstring"
    assert len(text.splitlines()) <= MAX_LINES


@pytest.mark.parametrize(
    "file", [f for f in FILES if "workflows" in f.parts], ids=lambda file: file.name
)
def test_a_workflow_module_has_no_mutable_state(file: Path) -> None:
    """A table may be a dict, if it is named as a constant and nothing in the module changes it."""
    tree = ast.parse(file.read_text())
    changed = set(changed_names(tree))
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for name in (target.id for target in targets if isinstance(target, ast.Name)):
            constant = name == "__all__" or (name.isupper() and name not in changed)
            assert constant or not is_mutable(node.value), f"line {node.lineno}: `{name}`"


def is_mutable(node: ast.expr) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in MUTABLE_CALLS
    return isinstance(node, MUTABLE)


def changed_names(tree: ast.AST) -> Iterator[str]:
    """Names that something assigns into, deletes from, or calls a mutating method of."""
    for node in ast.walk(tree):
        written = isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load)
        called = isinstance(node, ast.Attribute) and node.attr in MUTATORS
        if (written or called) and isinstance(node.value, ast.Name):
            yield node.value.id


@EACH_FILE
def test_all_is_sorted_and_importable(file: Path) -> None:
    if not re.search(r"^__all__\b", file.read_text(), re.MULTILINE):
        return
    module = importlib.import_module(name_of(file))
    names = list(module.__all__)
    assert names == sorted(names)
    assert [name for name in names if not hasattr(module, name)] == []


@EACH_FILE
def test_no_bound_in_bytes_is_compared_with_characters_of_json(file: Path) -> None:
    """`json_bytes` says what a payload takes; a Chinese text has a third as many characters."""
    if file.relative_to(ROOT).as_posix() in COUNTS_CHARACTERS:
        return
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Call(func=ast.Name(id="len"), args=[ast.Call(func=made)]):
                name = getattr(made, "attr", getattr(made, "id", ""))
                assert name not in JSON_TEXTS, f"line {node.lineno}: len({name}(...))"
            case _:
                pass


def test_every_activity_name_is_unique_and_prefixed() -> None:
    names = [
        contracts.RESOLVE,
        contracts.BUDGET_CHECK,
        contracts.BUDGET_COMMIT,
        contracts.AUDIT_START,
        contracts.AUDIT_CLOSE,
        contracts.MODEL,
        contracts.COMPACT,
    ]
    assert len(names) == len(set(names))
    assert all(name.startswith("executus.") for name in names)
    assert contracts.tool_activity("read_file") == "tool.read_file"


def test_no_file_keeps_a_promise_for_later() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "NotImplemented" + "Error")
    found = [
        f"{file.relative_to(ROOT)}: {mark}"
        for file in FILES
        for mark in marks
        if mark in file.read_text()
    ]
    assert found == []


def test_a_document_links_to_files_that_are_there() -> None:
    for document in [ROOT / "README.md", ROOT / "AGENTS.md", *(ROOT / "docs").rglob("*.md")]:
        for part in document.read_text().split("](")[1:]:
            target = part.partition(")")[0].partition("#")[0]
            if target and "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} -> {target}"
