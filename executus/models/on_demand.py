"""Load a package that only re-exports when one of its names is asked for.

`import openai` loads 468 modules of request and response types, 0.4 s and a sixth of a worker's
start, and none of them is used here: bodies go in and events come out as plain JSON. The packages
that hold them consist of nothing but `from .part import Name`, so a name says which part it needs
(PEP 562). Whoever uses the types gets every one of them, only later.
"""

import ast
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

Exports = Mapping[str, tuple[str, str]]
"""Name in the package -> the part that has it, and its name there."""


@contextmanager
def on_demand(package: str) -> Generator[None]:
    """What is imported within loads `package`, and packages below it, name by name.

    One that does more than re-export is loaded as ever, and so is what was imported before.
    """
    finder = _Finder(package)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def exports(source: str) -> Exports | None:
    """What a package's source re-exports; None when it does anything else."""
    found: dict[str, tuple[str, str]] = {}
    for node in ast.parse(source).body:
        match node:
            case ast.ImportFrom(module="__future__"):
                pass
            case ast.ImportFrom(module=str(part), level=1) if all(
                a.name != "*" for a in node.names
            ):
                found |= {alias.asname or alias.name: (part, alias.name) for alias in node.names}
            case ast.Expr(value=ast.Constant()):
                pass
            case _:
                return None
    return found


class _Finder(MetaPathFinder):
    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See base class."""
        if fullname != self._package and not fullname.startswith(f"{self._package}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.submodule_search_locations is None:
            return spec
        if isinstance(spec.loader, InspectLoader):
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    def __init__(self, real: InspectLoader) -> None:
        self._real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """See base class."""
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """See base class."""
        spec = module.__spec__
        if spec is not None:
            spec.loader = module.__loader__ = self._real  # pickle, inspect and reload see no other
        source = self._real.get_source(module.__name__)
        found = exports(source) if source else None
        if found:
            _fill(module, found)
        else:
            self._real.exec_module(module)


def _fill(module: ModuleType, found: Exports) -> None:
    """Give a module the names it exports, each loaded when it is first asked for."""

    def load(name: str) -> object:
        if name == "__all__":  # for `from package import *`
            return [name for name in found if not name.startswith("_")]
        if name in found:
            part, own = found[name]
            value: object = getattr(import_module(f".{part}", module.__name__), own)
        else:
            value = _part(module, name)
        module.__dict__[name] = value
        return value

    def names() -> list[str]:
        return sorted({*module.__dict__, *found, *(part for part, _ in found.values())})

    module.__dict__.update(__getattr__=load, __dir__=names)


def _part(module: ModuleType, name: str) -> ModuleType:
    """A part itself: loading all names would have made it an attribute."""
    own = f"{module.__name__}.{name}"
    try:
        return import_module(own)
    except ModuleNotFoundError as error:
        if error.name != own:
            raise
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}") from None
