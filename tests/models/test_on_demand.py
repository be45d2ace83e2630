"""A package of re-exports is loaded name by name, and looks like itself."""

import importlib
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from executus.models.on_demand import exports, on_demand

FILES = {
    "__init__.py": "from . import types\nhere = types.__name__\n",
    "types/__init__.py": (
        '"""All of them."""\n'
        "from __future__ import annotations\n"
        "from .first import One as One, two as Two\n"
        "from .below import Deep as Deep\n"
    ),
    "types/first.py": "class One: ...\nclass two: ...\n",
    "types/below/__init__.py": "from .deep import Deep as Deep\n",
    "types/below/deep.py": "class Deep: ...\n",
    "types/busy/__init__.py": "from .part import Part as Part\nCOUNT = 1\n",
    "types/busy/part.py": "class Part: ...\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, text in FILES.items():
        file = tmp_path / "sdk_of_a_test" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("sdk_of_a_test")]:
        monkeypatch.delitem(sys.modules, name)
    return "sdk_of_a_test"


def deferred(package: str, name: str) -> ModuleType:
    with on_demand(f"{package}.types"):
        return importlib.import_module(f"{package}.{name}")


def loaded(package: str) -> list[str]:
    return sorted(name for name in sys.modules if name.startswith(package))


def test_a_name_loads_the_part_that_has_it_and_no_other(package):
    types = deferred(package, "types")
    assert loaded(package) == [package, f"{package}.types"]
    assert types.Two.__name__ == "two"
    assert loaded(package) == [package, f"{package}.types", f"{package}.types.first"]
    assert types.__dict__["Two"] is types.Two, "looked for once"


def test_it_looks_like_itself(package):
    types = deferred(package, "types")
    assert {"One", "Two", "Deep", "first", "below"} <= set(dir(types))
    assert f"{package}.types.first" not in sys.modules, "looking at it loads nothing"
    names: dict[str, object] = {}
    exec(f"from {package}.types import *", names)  # noqa: S102
    assert {"One", "Two", "Deep"} <= names.keys()
    assert types.first.One is types.One
    assert types.below.deep.Deep is types.Deep
    assert pickle.loads(pickle.dumps(types.One)) is types.One  # noqa: S301
    assert types.__spec__ is not None
    assert types.__spec__.loader is types.__loader__
    assert types.__spec__.loader.get_source(types.__name__) == FILES["types/__init__.py"]
    with pytest.raises(AttributeError, match=r"module 'sdk_of_a_test.types' has no .* 'Three'"):
        _ = types.Three
    with pytest.raises(ImportError, match="cannot import name 'Three'"):
        exec(f"from {package}.types import Three")  # noqa: S102


def test_one_that_does_more_is_loaded_as_ever(package):
    busy = deferred(package, "types.busy")
    assert busy.__dict__["COUNT"] == 1
    assert "Part" in busy.__dict__


def test_what_was_loaded_before_stays(package):
    before = importlib.import_module(f"{package}.types")
    assert deferred(package, "types") is before
    assert "One" in before.__dict__


def test_others_and_what_comes_later_are_none_of_its_business(package):
    finders = list(sys.meta_path)
    assert deferred(package, "types.first").One.__name__ == "One"
    assert importlib.import_module(package).here == f"{package}.types"
    with pytest.raises(ModuleNotFoundError, match="missing"):
        deferred(package, "types.missing")
    assert sys.meta_path == finders
    assert "Deep" in importlib.import_module(f"{package}.types.below").__dict__


@pytest.mark.parametrize(
    "source",
    ["import os", "from .part import *", "from ..up import Name", "X = 1", "if 1:\n    pass"],
)
def test_what_is_more_than_re_exports(source):
    assert exports(f"from .part import Name as Name\n{source}\n") is None


IMPORT = "import executus.models.openai_client, sys"
COUNT = f"{IMPORT}; print(sum(name.startswith('openai.types') for name in sys.modules))"
NAMES = (
    "import openai.types as a, openai.types.responses as b, openai.types.chat as c;"
    "print(*((m.__name__, n, getattr(m, n)) for m in (a, b, c) for n in {names}), sep=chr(10))"
)


def told(program: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    return run.stdout.splitlines()


def test_openais_types_are_not_loaded_and_all_there():
    assert int(told(COUNT)[0]) < 100, "of 468"
    public = "[n for n in dir(m) if n[0] != '_' and n != 'annotations']"
    real = told(NAMES.replace("{names}", public))
    assert len(real) > 300
    known: dict[str, list[str]] = {}
    for line in real:
        _, module, _, name, *_ = line.split("'")
        known.setdefault(module, []).append(name)
    assert told(f"{IMPORT}; {NAMES.replace('{names}', f'{known}[m.__name__]')}") == real
