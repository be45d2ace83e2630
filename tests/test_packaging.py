"""What a wheel would hold, and how it is imported."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
TOPS = ("executus", "workflows", "activities")


def packages_on_disk() -> set[str]:
    """Import names of every package, symlinks not followed."""
    found: set[str] = set()
    for top in TOPS:
        for init in (ROOT / top).rglob("__init__.py"):
            folder = init.parent.relative_to(ROOT)
            if any((ROOT / part).is_symlink() for part in (folder, *folder.parents)):
                continue
            name = ".".join(folder.parts)
            found.add(name if top == "executus" else f"executus.{name}")
    return found


def test_the_package_list_equals_the_packages_on_disk() -> None:
    assert sorted(SETUPTOOLS["packages"]) == sorted(packages_on_disk())


def folder_of(package: str) -> Path:
    """Where setuptools looks for a package: the longest prefix in its package-dir mapping."""
    mapping = SETUPTOOLS["package-dir"]
    parts = package.split(".")
    for length in range(len(parts), 0, -1):
        if (home := mapping.get(".".join(parts[:length]))) is not None:
            return ROOT.joinpath(home, *parts[length:])
    return ROOT.joinpath(*parts)


def test_a_wheel_would_hold_every_module_once() -> None:
    shipped = [file for name in SETUPTOOLS["packages"] for file in folder_of(name).glob("*.py")]
    sources = [
        file
        for top in TOPS
        for file in (ROOT / top).rglob("*.py")
        if not any((ROOT / part).is_symlink() for part in file.relative_to(ROOT).parents)
    ]
    assert sorted(shipped) == sorted(sources)


def test_what_is_not_python_is_shipped_too() -> None:
    data = SETUPTOOLS["package-data"]
    shipped = {
        file
        for name, globs in data.items()
        for glob in globs
        for file in folder_of(name).glob(glob)
    }
    others = {
        file
        for file in (ROOT / "executus").rglob("*")
        if file.is_file() and file.suffix not in {".py", ".pyc"}
    }
    assert {file for file in shipped if file.is_file()} == others


@pytest.mark.parametrize("name", ["workflows", "activities"])
def test_the_top_level_folders_cannot_be_imported_under_their_own_name(name: str) -> None:
    done = python(f"import {name}")
    assert done.returncode == 1
    assert f"import executus.{name}, not {name}" in done.stderr


def test_importing_executus_loads_no_provider_store_or_command_line() -> None:
    heavy = ["openai", "anthropic", "sqlalchemy", "temporalio", "click", "rich", "httpx2"]
    done = python(f"import sys, executus; print([m for m in {heavy} if m in sys.modules])")
    assert done.stdout.strip() == "[]"


def test_a_host_without_mcp_servers_and_packs_loads_nothing_for_them() -> None:
    done = python(
        "import sys, executus.plugin, executus.cli.compose\n"
        "print([m for m in ('mcp', 'mcp_types', 'starlette', 'yaml') if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_help_loads_no_command() -> None:
    heavy = ["openai", "anthropic", "sqlalchemy", "temporalio", "rich"]
    done = python(
        "import sys\n"
        "from executus.cli.app import invoke\n"
        "assert invoke(['--help']) == 0\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_symlinks_for_type_checkers_point_home() -> None:
    for name in ("workflows", "activities"):
        link = ROOT / "executus" / name
        if link.is_symlink():  # a checkout without symlinks works too
            assert link.resolve() == ROOT / name


def test_every_dependency_is_explained() -> None:
    text = (ROOT / "docs/decisions/0001-dependencies.md").read_text()
    for line in PROJECT["project"]["dependencies"]:
        name = line.split("[")[0].split(">")[0].split("=")[0]
        assert name in text, f"{name} is not in docs/decisions/0001-dependencies.md"


def python(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
