import os
from pathlib import Path

import pytest

from executus.demo.folder import MAX_BYTES, MAX_FILES, Folder
from executus.tools import ToolError


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("alpha")
    (root / "sub" / "b.txt").write_text("beta")
    (root / ".env").write_text("KEY=hunter2")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("hunter2")
    (tmp_path / "outside.txt").write_text("hunter2")
    (root / "escape.txt").symlink_to(tmp_path / "outside.txt")
    (root / "up").symlink_to(tmp_path)
    (root / "inside.txt").symlink_to(root / "a.txt")
    (root / "ring").symlink_to(root / "ring")
    (root / "settings.txt").symlink_to(root / ".env")
    os.mkfifo(root / "pipe")
    (root / "image.png").write_bytes(b"\x89PNG\x00")
    return root


def test_only_plain_visible_files_are_listed_in_order(root: Path) -> None:
    assert [(f.path, f.bytes) for f in Folder(root).files()] == [
        ("a.txt", 5),
        ("image.png", 5),
        ("sub/b.txt", 4),
    ]


@pytest.mark.parametrize(
    "path",
    [
        "../outside.txt",
        "sub/../../outside.txt",
        "escape.txt",
        "up/outside.txt",
        "/etc/passwd",
        ".env",
        ".git/config",
        "sub/../.env",
        "settings.txt",
        "a.txt\x00",
        "ring",
        "pipe",
        "sub",
        "",
        ".",
        "image.png",
        "missing.txt",
        "x" * 5_000,
        "a.txt/b",
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_what_is_not_a_visible_text_file_in_the_folder_is_refused(root: Path, path: str) -> None:
    with pytest.raises(ToolError) as caught:
        Folder(root).read(path)
    assert "hunter2" not in str(caught.value)
    assert str(root) not in str(caught.value)


@pytest.mark.parametrize("path", ["a.txt", "./a.txt", "sub/../a.txt", "inside.txt"])
def test_a_file_inside_is_read_by_any_of_its_paths(root: Path, path: str) -> None:
    assert Folder(root).read(path).text == "alpha"


def test_a_folder_that_is_a_link_itself_works(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert Folder(tmp_path / "link").read("sub/b.txt").text == "beta"


def test_an_absolute_path_into_the_folder_is_the_file(root: Path) -> None:
    assert Folder(root).read(str(root / "a.txt")).text == "alpha"


def test_a_long_file_is_read_in_part_and_says_so(root: Path) -> None:
    (root / "long.txt").write_bytes(b"x" * (MAX_BYTES + 1))
    file = Folder(root).read("long.txt")
    assert (len(file.text), file.complete) == (MAX_BYTES, False)


def test_a_huge_folder_is_listed_in_part(tmp_path: Path) -> None:
    for i in range(MAX_FILES + 5):
        (tmp_path / f"{i:05}").touch()
    assert len(list(Folder(tmp_path).files())) == MAX_FILES
