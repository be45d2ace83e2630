"""Packs: what a worker may show its models, loaded once and never anything but what is pinned."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from executus.errors import ConfigError
from executus.packs.content import read_content
from executus.packs.lock import Subscription, read_lock
from executus.packs.pack import Pack, parse_pack
from executus.packs.store import PackStore

SHORT = 12
"""Digits of a digest that people are shown."""


class UnknownPack(ConfigError):
    """Names of packs that this host has not; the message has those that it has."""


@dataclass(frozen=True, slots=True)
class Packs:
    """The packs of a host. Immutable, so all runs of a worker may share it."""

    packs: tuple[Pack, ...] = ()
    """Each name once."""
    problems: tuple[str, ...] = ()
    """Of those that could not be loaded: they refuse a worker."""

    def __post_init__(self) -> None:
        names = [pack.name for pack in self.packs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"two skill packs of one name: {', '.join(twice)}")

    def joined(self, other: "Packs") -> "Packs":
        """These and the others; what is in both with the same content counts once.

        Raises:
            ConfigError: two of one name have other contents.
        """
        mine = [pack.ref for pack in self.packs]
        more = (pack for pack in other.packs if pack.ref not in mine)
        problems = tuple(dict.fromkeys((*self.problems, *other.problems)))
        return Packs((*self.packs, *more), problems)

    def get(self, name: str) -> Pack | None:
        """The pack called `name`."""
        return next((pack for pack in self.packs if pack.name == name), None)

    def named(self, names: Iterable[str]) -> tuple[Pack, ...]:
        """The named packs in the order given, each once.

        Raises:
            UnknownPack: when one is not there.
        """
        wanted = tuple(dict.fromkeys(names))
        found = {name: self.get(name) for name in wanted}
        if unknown := [name for name, pack in found.items() if pack is None]:
            known = ", ".join(sorted(pack.name for pack in self.packs)) or "none"
            listed = ", ".join(repr(name) for name in unknown)
            raise UnknownPack(
                f"unknown skill pack{'s' if len(unknown) > 1 else ''} {listed}; packs of this host:"
                f" {known}; correct the agent's `skill_packs`, or `executus packs add` the pack"
            )
        return tuple(pack for pack in found.values() if pack is not None)


def load_packs(lock: Path, store: Path) -> Packs:
    """The pinned content of every subscribed pack.

    From the store's copy; without one, from the source if that is still what was pinned. Anything
    else is a problem: what changed is not shown to a model before somebody has applied it.

    Raises:
        ConfigError: the lock file itself is broken.
    """
    found: list[Pack] = []
    problems: list[str] = []
    for name, subscription in read_lock(lock).packs.items():
        try:
            found.append(load_pinned(name, subscription, lock, PackStore(store)))
        except ConfigError as error:
            problems.append(str(error))
    return Packs(tuple(found), tuple(problems))


def load_pinned(name: str, subscription: Subscription, lock: Path, store: PackStore) -> Pack:
    """The pack with exactly the pinned content.

    Raises:
        ConfigError: it is nowhere; says where it was looked for, and the way out.
    """
    files = store.load(subscription.digest)
    source = source_of(lock, subscription)
    if files is None:
        try:
            content = read_content(source)
        except ConfigError as error:
            raise ConfigError(_gone(name, subscription, store, str(error))) from None
        if content.digest != subscription.digest:
            now = f"{source} has other content ({content.digest[:SHORT]})"
            raise ConfigError(_gone(name, subscription, store, now))
        files = content.files
    pack = parse_pack(files, str(source))
    if pack.name != name:
        raise ConfigError(f"skill pack `{name}`: the pinned content is a pack called `{pack.name}`")
    return pack


def source_of(lock: Path, subscription: Subscription) -> Path:
    """The folder that a pack is taken from."""
    return lock.absolute().parent / subscription.source


def _gone(name: str, subscription: Subscription, store: PackStore, source: str) -> str:
    pin = subscription.digest[:SHORT]
    return (
        f"skill pack `{name}`: the pinned content {pin} is not kept whole in {store.root}, and "
        f"{source}; restore one of them, or accept what is there: `executus packs check {name}`, "
        f"then `executus packs apply {name}`"
    )
