"""Catalogue: all agents of a host, of code and of folders, the broken ones with their problem."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from executus.agent import RunnableAgent
from executus.agents.declared import Declared
from executus.agents.extends import chain_of, effective
from executus.agents.file import SUFFIXES, read_agent
from executus.errors import ConfigError

IGNORED = "readme.md"
"""A Markdown file that is no agent, whatever the case of its letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One agent, or why it is none."""

    name: str
    """What it is started by; of a file that does not parse, the file's own name."""
    source: str
    """Its file or folder, or `(code)`."""
    agent: RunnableAgent | None = None
    """The agent with what it inherits; None when there is a problem."""
    extends: tuple[str, ...] = ()
    """Names of the agents it inherits from, the nearest first."""
    problem: str | None = None
    """One sentence that names the source."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What was declared; a broken entry takes no other one down."""

    entries: tuple[Entry, ...] = ()
    """Agents of code first, then those of the folders in their order, by file name."""

    @property
    def agents(self) -> dict[str, RunnableAgent]:
        """The sound ones by name."""
        return {entry.name: entry.agent for entry in self.entries if entry.agent is not None}

    @property
    def problems(self) -> tuple[str, ...]:
        """Of all others."""
        return tuple(entry.problem for entry in self.entries if entry.problem is not None)

    def find(self, name: str) -> Entry | None:
        """The entry of that name."""
        return next((entry for entry in self.entries if entry.name == name), None)


def load_catalogue(
    folders: Iterable[str | Path] = (), code: Iterable[RunnableAgent] = ()
) -> Catalogue:
    """Read every agent file of `folders`, not of folders below them.

    Files that begin with a dot, README.md, and files of other formats are none. `code` are agents
    of Python, which files may extend.
    """
    read = [*(Declared.in_code(agent) for agent in code), *_read(folders)]
    names = _Names(read)
    return Catalogue(tuple(item if isinstance(item, Entry) else names.entry(item) for item in read))


def load_agent(
    path: Path, folders: Iterable[str | Path] = (), code: Iterable[RunnableAgent] = ()
) -> RunnableAgent:
    """The agent of one file, which may extend its neighbours, those of `folders` and of `code`.

    Raises:
        ConfigError: the file is not there, does not parse, or a field is wrong; one message names
            the file, every field, the known set and the way out.
    """
    own = read_agent(path)
    if own.extends is None:
        return effective((own,))
    mine = path.resolve()
    read = [*(Declared.in_code(agent) for agent in code), *_read([path.parent, *folders])]
    names = _Names([own, *(item for item in read if Path(item.source).resolve() != mine)])
    return effective(names.chain(own))


class _Names:
    """Who has which name, so that `extends` finds one sound agent and no other."""

    def __init__(self, read: Iterable[Declared | Entry]) -> None:
        self._all: dict[str, list[Declared]] = {}
        self._broken: dict[str, str] = {}
        for item in read:
            if isinstance(item, Declared):
                self._all.setdefault(item.name, []).append(item)
            elif item.problem is not None:
                self._broken[item.name] = item.problem
        self._first = {name: items[0] for name, items in self._all.items()}

    def chain(self, item: Declared) -> tuple[Declared, ...]:
        """The agent and what it inherits from.

        Raises:
            ConfigError: there is no such chain, or a name in it is not one agent's.
        """
        chain = chain_of(item, self._first, self._broken)
        for link in chain:
            if len(self._all[link.name]) > 1:
                both = ", ".join(other.source for other in self._all[link.name])
                raise ConfigError(f"{item.source}: several agents are called `{link.name}`: {both}")
        return chain

    def entry(self, item: Declared) -> Entry:
        """The agent, or its problem; a parent's mistake is told as the parent's."""
        chain: tuple[Declared, ...] = (item,)
        try:
            chain = self.chain(item)
            for start in range(len(chain) - 1, 0, -1):
                effective(chain[start:])
            agent = effective(chain)
        except ConfigError as error:
            text = str(error)
            told = text if text.startswith(item.source) else f"{item.source}: extends {text}"
            return Entry(name=item.name, source=item.source, problem=told)
        names = tuple(link.name for link in chain[1:])
        return Entry(name=item.name, source=item.source, agent=agent, extends=names)


def _read(folders: Iterable[str | Path]) -> list[Declared | Entry]:
    """What the files of `folders` declare; a folder that was given twice counts once."""
    found: list[Declared | Entry] = []
    for folder in dict.fromkeys(Path(folder).resolve() for folder in folders):
        shown = _shown(folder)
        try:
            files = sorted(file for file in shown.iterdir() if _is_agent(file))
        except OSError as error:
            problem = f"{shown}: {error.strerror}; it should be a folder of agent files"
            found.append(Entry(name="", source=str(shown), problem=problem))
            continue
        for file in files:
            try:
                _check_file(file)
                found.append(read_agent(file))
            except ConfigError as error:
                found.append(Entry(name=file.stem, source=str(file), problem=str(error)))
    return found


def _shown(folder: Path) -> Path:
    """The folder as people know it: seen from here, when it is below."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _is_agent(file: Path) -> bool:
    hidden = file.name.startswith(".") or file.name.lower() == IGNORED
    return file.suffix in SUFFIXES and not hidden


def _check_file(file: Path) -> None:
    """Refuse what is called like an agent file and is none; to open a pipe would wait for ever."""
    if file.is_file():
        return
    if file.is_symlink() and not file.exists():
        raise ConfigError(f"{file}: a link to {file.readlink()}, which is not there")
    raise ConfigError(f"{file}: not a file, though it is called like an agent's; rename it")
