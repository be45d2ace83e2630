"""Skill packs on disk and in memory."""

from pathlib import Path

from executus.packs.pack import Pack, parse_pack

HEAD = "---\nname: {name}\ndescription: {about}\n---\n{body}\n"


def skill(name: str, about: str = "Does it well.", body: str = "Do it.") -> bytes:
    return HEAD.format(name=name, about=about, body=body).encode()


def write_pack(root: Path, name: str, body: str = "Do it.", **files: str | bytes) -> Path:
    """A pack's folder; the keys of `files` are paths with `__` for `/`."""
    home = root / name
    home.mkdir(parents=True, exist_ok=True)
    (home / "SKILL.md").write_bytes(skill(name, body=body))
    for key, data in files.items():
        path = home / key.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return home


def pack(name: str, body: str = "Do it.", **files: bytes) -> Pack:
    """A pack in memory; the keys of `files` are paths with `__` for `/`."""
    more = {key.replace("__", "/"): data for key, data in files.items()}
    return parse_pack({"SKILL.md": skill(name, body=body), **more}, name)
