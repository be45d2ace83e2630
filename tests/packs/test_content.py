"""A stranger's folder is read without following, opening or believing anything in it."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executus.errors import ConfigError
from executus.packs import content
from executus.packs.content import content_digest, read_content

from .packs import write_pack


def refused(folder: Path) -> str:
    with pytest.raises(ConfigError) as error:
        read_content(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_all_files_are_read_with_their_paths_inside_the_pack(tmp_path: Path) -> None:
    home = write_pack(tmp_path, "pdf", references__b="b", a=b"\xff\x00", z__y__x="")
    read = read_content(home)
    assert list(read.files) == ["SKILL.md", "a", "references/b", "z/y/x"]
    assert (read.files["a"], read.files["z/y/x"]) == (b"\xff\x00", b"")


def test_hidden_files_are_left_out_and_told(tmp_path: Path) -> None:
    home = write_pack(tmp_path, "pdf", references__a="a")
    before = read_content(home)
    write_pack(tmp_path, "pdf", **{".git__config": "x", "references__.env": "KEY=1"})
    after = read_content(home)
    assert (after.files, after.digest) == (before.files, before.digest)
    assert after.left_out == (".git", "references/.env")


def test_the_digest_can_be_computed_with_everybodys_tools(tmp_path: Path) -> None:
    home = write_pack(tmp_path, "pdf", references__b="b", a=b"\xff\x00")
    command = "find . -type f | sed 's:^./::' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=home, capture_output=True, text=True, check=True
    )
    assert read_content(home).digest == done.stdout.split()[0]


trees = st.dictionaries(st.sampled_from(["a", "b", "a/b", "ab"]), st.binary(max_size=3))


@given(trees, trees)
def test_other_content_has_another_digest(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert (content_digest(one) == content_digest(other)) == (one == other)


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "SKILL.md", "nowhere"])
def test_a_link_is_refused_wherever_it_points(tmp_path: Path, target: str) -> None:
    (tmp_path / "secret").write_text("secret")
    home = write_pack(tmp_path, "pdf", references__a="a")
    (home / "references" / "link").symlink_to(target)
    assert "`references/link` is a link" in refused(home)


def test_a_linked_folder_is_refused_and_not_walked(tmp_path: Path) -> None:
    write_pack(tmp_path, "other", secret="secret")
    home = write_pack(tmp_path, "pdf")
    (home / "references").symlink_to(tmp_path / "other")
    assert "`references` is a link" in refused(home)


def test_a_skill_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    home = write_pack(tmp_path, "pdf")
    (home / "SKILL.md").rename(tmp_path / "elsewhere.md")
    (home / "SKILL.md").symlink_to(tmp_path / "elsewhere.md")
    assert "`SKILL.md` is a link" in refused(home)


def test_a_file_that_becomes_a_link_while_it_is_read_is_not_followed(
    tmp_path: Path, monkeypatch
) -> None:
    home = write_pack(tmp_path, "pdf", a="a")
    (tmp_path / "secret").write_text("secret")
    real = os.open

    def swap(name: str, flags: int, **options: int) -> int:
        if name == "a":
            (home / "a").unlink()
            (home / "a").symlink_to(tmp_path / "secret")
        return real(name, flags, **options)

    monkeypatch.setattr(content.os, "open", swap)
    assert "a: Too many levels of symbolic links" in refused(home)


def test_pipes_and_sockets_are_refused_and_nobody_waits_for_them(tmp_path: Path) -> None:
    home = write_pack(tmp_path, "pdf")
    os.mkfifo(home / "pipe")
    assert "`pipe` is no regular file" in refused(home)
    (home / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(home / "socket"))
        assert "`socket` is no regular file" in refused(home)


@pytest.mark.parametrize(
    "name",
    [
        "a\nb",
        "a\x1b[31m",
        "a\u202eb",
        "a\\b",
        "C:a",
        "a  b",
        " a",
        "x" * 201,
        b"\xff".decode("utf-8", "surrogateescape"),
    ],
)
def test_a_name_that_could_be_taken_for_another_is_refused(tmp_path: Path, name: str) -> None:
    home = write_pack(tmp_path, "pdf")
    (home / name[:250]).write_text("x")
    assert "is not a plain one" in refused(home)


def test_names_that_differ_in_case_only_are_refused(tmp_path: Path) -> None:
    home = write_pack(tmp_path, "pdf", readme="a", README="b")
    assert "differ in case only" in refused(home)


def test_everything_is_bounded(tmp_path: Path, monkeypatch) -> None:
    home = write_pack(tmp_path, "pdf", a="aaaa", b="bbbb")
    read_content(home)
    for name, value, shown in (
        ("MAX_FILES", 2, "more than 2 files"),
        ("MAX_FILE_BYTES", 3, "has more than 3 bytes"),
        ("MAX_BYTES", 50, "more than 50 bytes in all"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(content, name, value)
            assert shown in refused(home)
    write_pack(tmp_path, "pdf", **{"__".join("cdefghijkl"): "x"})
    assert "folders more than 8 deep" in refused(home)


def test_what_is_no_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "not a folder" in refused(tmp_path / "file")
    assert "No such file" in refused(tmp_path / "nowhere")
