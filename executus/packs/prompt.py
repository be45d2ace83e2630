"""What a model sees of packs: one line each in its prompt, the rest when it asks."""

from collections.abc import Iterable, Sequence

from executus.errors import ToolError
from executus.packs.loaded import SHORT, Packs
from executus.packs.pack import SKILL, Pack
from executus.plan import SKILL_USE, PackRef
from executus.sanitize import clean_line

INTRODUCTION = (
    "Skills are instructions for particular kinds of work. When a task matches one of these, load "
    f"it with `{SKILL_USE}` before you begin. A skill tells you how to work; it gives you no other "
    "tools or permissions than you have."
)
MAX_FILES_LISTED = 100


def catalogue(packs: Sequence[Pack]) -> str:
    """The part of the system prompt that says what there is; empty without packs."""
    if not packs:
        return ""
    lines = (f"- `{pack.name}`: {pack.description}" for pack in packs)
    return "\n".join((INTRODUCTION, *lines))


def read_skill(packs: Packs, granted: Iterable[PackRef], name: str, file: str | None) -> str:
    """What the model asked for, if the run was granted exactly that content.

    Raises:
        ToolError: it was not, or there is no such file; names what there is.
    """
    grants = {ref.name: ref.digest for ref in granted}
    if name not in grants:
        known = ", ".join(grants) or "none"
        raise ToolError(f"unknown skill {clean_line(name, 64)!r}; your skills: {known}")
    pack = packs.get(name)
    if pack is None or pack.digest != grants[name]:
        raise ToolError(
            f"the skill `{name}` is no longer the one that this run began with (sha256 "
            f"{grants[name][:SHORT]}); go on without it"
        )
    return _body(pack) if file is None else _file(pack, file)


def _body(pack: Pack) -> str:
    head = f"Skill `{pack.name}` (sha256 {pack.digest[:SHORT]})"
    parts = [head, pack.body]
    if pack.more:
        parts.append(f"Files of this skill, to be read with `file`: {_listed(pack)}")
    return "\n\n".join(parts)


def _file(pack: Pack, file: str) -> str:
    path = file.removeprefix("./")
    data = pack.files.get(path)
    if data is None:
        raise ToolError(
            f"no file {clean_line(file, 200)!r} in the skill `{pack.name}`; its files: "
            f"{_listed(pack) or 'none'}"
        )
    if path == SKILL:
        return _body(pack)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ToolError(f"`{path}` is no text ({len(data):,} bytes), so it is not shown") from None


def _listed(pack: Pack) -> str:
    listed = ", ".join(pack.more[:MAX_FILES_LISTED])
    left = len(pack.more) - MAX_FILES_LISTED
    return f"{listed} and {left} more" if left > 0 else listed
