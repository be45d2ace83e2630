"""Subscriptions: add packs, look for updates, accept them. Looking and accepting are two acts.

`check` reads the sources, keeps a copy of what changed and records it as pending; the pin stays.
`apply` pins that copy and never looks at the source: what somebody has reviewed is what runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from executus.errors import ConfigError
from executus.packs.content import read_content
from executus.packs.loaded import SHORT, load_pinned, source_of
from executus.packs.lock import (
    Lock,
    Pending,
    Subscription,
    changing,
    read_lock,
    write_lock,
)
from executus.packs.pack import SKILL, Pack, parse_pack
from executus.packs.store import PackStore

MAX_CHANGES = 8
"""Changed files that one line names."""


class Outcome(NamedTuple):
    """What became of one pack."""

    name: str
    text: str
    """For people, one line."""
    fine: bool = True
    """Nothing is left to do for anybody."""


class Subscriptions:
    """The packs of one lock file and store."""

    def __init__(self, lock: Path, store: Path) -> None:
        self._path = lock
        self._store = PackStore(store)

    def add(self, folder: Path) -> list[Outcome]:
        """Subscribe to the pack in `folder`, or to every pack right below it, and pin them.

        A pack that is subscribed already keeps its pin.

        Raises:
            ConfigError: one of them is no sound pack, or its name is taken; then none is added.
        """
        with self._changing() as lock:
            packs, outcomes, problems = dict(lock.packs), list[Outcome](), list[str]()
            for home in _pack_folders(folder):
                try:
                    outcomes.append(self._add_one(home, packs))
                except ConfigError as error:
                    problems.append(str(error))
            if problems:
                raise ConfigError("; ".join(["nothing was added", *problems]))
            self._write(lock, packs)
        return outcomes

    def check(self, names: Sequence[str] = ()) -> list[Outcome]:
        """Look for updates of the named packs, or of all. Never moves a pin.

        Raises:
            ConfigError: a name is not subscribed.
        """
        with self._changing() as lock:
            packs, outcomes = dict(lock.packs), list[Outcome]()
            for name in _known(lock, names):
                packs[name], outcome = self._check_one(name, packs[name])
                outcomes.append(outcome)
            self._write(lock, packs)
        return outcomes

    def apply(self, names: Sequence[str], digest: str = "") -> list[Outcome]:
        """Pin what `check` found for the named packs.

        `digest`: the beginning of the one that was looked at; another one is refused, for a check
        may have run in between.

        Raises:
            ConfigError: one has nothing pending, or its copy is gone; then no pin moves.
        """
        with self._changing() as lock:
            packs, outcomes = dict(lock.packs), list[Outcome]()
            for name in _known(lock, names):
                old = packs[name]
                packs[name] = self._apply_one(name, old, digest)
                text = f"pinned {packs[name].digest[:SHORT]}, was {old.digest[:SHORT]}"
                outcomes.append(Outcome(name, text))
            self._write(lock, packs)
        return outcomes

    def remove(self, names: Sequence[str]) -> list[Outcome]:
        """End subscriptions; the copies stay.

        Raises:
            ConfigError: a name is not subscribed; then none is removed.
        """
        with self._changing() as lock:
            gone = _known(lock, names)
            packs = {name: item for name, item in lock.packs.items() if name not in gone}
            self._write(lock, packs)
        return [Outcome(name, "removed") for name in gone]

    def pending(self) -> list[str]:
        """Names of packs that have an update to apply."""
        return [name for name, item in read_lock(self._path).packs.items() if item.pending]

    def all(self) -> dict[str, tuple[Subscription, Pack | str]]:
        """Every subscription with its pinned pack, or why there is none."""
        found: dict[str, tuple[Subscription, Pack | str]] = {}
        for name, item in read_lock(self._path).packs.items():
            try:
                found[name] = (item, load_pinned(name, item, self._path, self._store))
            except ConfigError as error:
                found[name] = (item, str(error))
        return found

    def _changing(self) -> AbstractContextManager[Lock]:
        return changing(self._path, self._store.root / ".guard")

    def _write(self, lock: Lock, packs: dict[str, Subscription]) -> None:
        if packs != lock.packs:
            write_lock(self._path, lock.model_copy(update={"packs": packs}))

    def _add_one(self, home: Path, packs: dict[str, Subscription]) -> Outcome:
        content = read_content(home)
        pack = _sound(home, content.files)
        known = packs.get(pack.name)
        if known is not None and source_of(self._path, known).resolve() != home:
            other = source_of(self._path, known)
            raise ConfigError(f"two packs are called `{pack.name}`: {other} and {home}")
        if known is not None:
            same = known.digest == pack.digest
            text = "is subscribed" if same else "is subscribed and has changed: `check` it"
            return Outcome(pack.name, text, fine=same)
        packs[pack.name] = Subscription(
            source=self._relative(home),
            digest=self._store.keep(content.files),
            pinned_at=datetime.now(UTC),
        )
        text = f"pinned {pack.digest[:SHORT]}, {len(pack.files)} files"
        if content.left_out:
            text += f"; left out {_names(content.left_out)}"
        if pack.wishes:
            text += f"; wishes for tools, which grants none: {pack.wishes}"
        return Outcome(pack.name, text)

    def _check_one(self, name: str, item: Subscription) -> tuple[Subscription, Outcome]:
        home = source_of(self._path, item)
        without = item.model_copy(update={"pending": None})
        try:
            files = read_content(home).files
            pack = _sound(home, files)
        except ConfigError as error:
            return without, Outcome(name, f"cannot be updated, the pin stays: {error}", fine=False)
        self._store.keep(files)
        if pack.digest == item.digest:
            return without, Outcome(name, "up to date")
        seen = item.pending
        if seen is None or seen.digest != pack.digest:
            seen = Pending(digest=pack.digest, found_at=datetime.now(UTC))
        changes = _changes(self._store.load(item.digest) or {}, files)
        text = f"update pending, {item.digest[:SHORT]} -> {pack.digest[:SHORT]}: {changes}"
        return item.model_copy(update={"pending": seen}), Outcome(name, text, fine=False)

    def _apply_one(self, name: str, item: Subscription, digest: str) -> Subscription:
        if item.pending is None:
            raise ConfigError(f"{name}: no update is pending; `executus packs check {name}` looks")
        if not item.pending.digest.startswith(digest):
            raise ConfigError(f"{name}: pending is {item.pending.digest}, not {digest}")
        files = self._store.load(item.pending.digest)
        if files is None:
            copy = self._store.path(item.pending.digest)
            msg = f"{name}: the copy to pin is no longer whole in {copy}; check again"
            raise ConfigError(msg)
        parse_pack(files, name)
        return Subscription(
            source=item.source, digest=item.pending.digest, pinned_at=datetime.now(UTC)
        )

    def _relative(self, home: Path) -> str:
        base = self._path.absolute().parent.resolve()
        return home.relative_to(base).as_posix() if home.is_relative_to(base) else str(home)


def _pack_folders(folder: Path) -> list[Path]:
    """The folder, if it is a pack, or those right below it that are."""
    try:
        home = folder.resolve(strict=True)
        if (home / SKILL).exists():
            return [home]
        below = sorted(item for item in home.iterdir() if (item / SKILL).is_file())
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}") from None
    for item in below:
        if item.is_symlink():  # a stranger's collection may point anywhere
            raise ConfigError(f"{item}: is a link; add the folder it points to, if you mean it")
    if not below:
        raise ConfigError(f"{folder}: no {SKILL} in it, nor in a folder right below it")
    return below


def _sound(home: Path, files: Mapping[str, bytes]) -> Pack:
    """The pack of a source; the format wants its folder to be called as it is."""
    pack = parse_pack(files, str(home))
    if pack.name != home.name:
        msg = f"{home}/{SKILL}: `name` is `{pack.name}`; it must be its folder's, `{home.name}`"
        raise ConfigError(msg)
    return pack


def _known(lock: Lock, names: Sequence[str]) -> tuple[str, ...]:
    """`names`, or all when there are none."""
    if unknown := sorted(set(names) - lock.packs.keys()):
        known = ", ".join(lock.packs) or "none"
        raise ConfigError(f"not subscribed: {', '.join(unknown)}; subscribed packs: {known}")
    return tuple(dict.fromkeys(names)) or tuple(lock.packs)


def _changes(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> str:
    changed = [path for path in new if path in old and old[path] != new[path]]
    parts = [
        f"{word} {_names(paths)}"
        for word, paths in (
            ("changed", changed),
            ("new", [path for path in new if path not in old]),
            ("gone", [path for path in old if path not in new]),
        )
        if paths
    ]
    return "; ".join(parts)


def _names(paths: Iterable[str]) -> str:
    listed = list(paths)
    more = f" and {len(listed) - MAX_CHANGES} more" if len(listed) > MAX_CHANGES else ""
    return ", ".join(listed[:MAX_CHANGES]) + more
