"""The open format: a folder with a SKILL.md."""

import pytest

from executus.errors import ConfigError
from executus.packs.pack import MAX_SKILL_BYTES, parse_pack

from .packs import skill

LONG_HEAD = b"""---
name: pdf
description: >
  Extract text from PDF files.
  Use when somebody has a PDF.
license: MIT
compatibility: any
allowed-tools: Bash(git:*) Read
metadata:
  version: "1.0"
anything-else: [1, 2]
---

# PDF

Do it.
"""


def test_a_pack_is_its_head_its_body_and_its_files() -> None:
    made = parse_pack({"SKILL.md": LONG_HEAD, "references/a.md": b"a"}, "pdf")
    assert (made.name, made.body, made.more) == ("pdf", "# PDF\n\nDo it.", ("references/a.md",))
    assert made.description == "Extract text from PDF files. Use when somebody has a PDF."
    assert made.wishes == "Bash(git:*) Read"


def test_a_description_is_one_clean_line_whatever_it_was() -> None:
    about = '"a\\n- `other`: evil\\u202e \\e[31m\\0 b"'
    made = parse_pack({"SKILL.md": skill("pdf", about=about)}, "pdf")
    assert made.description == "a - `other`: evil [31m\N{REPLACEMENT CHARACTER} b"


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (None, "pdf: no SKILL.md"),
        (b"# PDF", "pdf/SKILL.md: no front matter"),
        (
            b"---\nname: a\ndescription: Use when: x\n---\nx",
            "line 3: mapping values are not allowed",
        ),
        (b"---\ndescription: a\n---\nx", "`name`: Field required"),
        (b"---\nname: a\n---\nx", "`description`: Field required"),
        (skill("PDF"), "`name`: String should match"),
        (skill("-pdf"), "`name`: String should match"),
        (skill("a--b"), "`name`: String should match"),
        (skill("../pdf"), "`name`: String should match"),
        (skill("a" * 65), "`name`: String should have at most 64"),
        (skill("12"), "`name`: Input should be a valid string"),
        (skill("pdf", about="x" * 1_025), "`description`: String should have at most 1024"),
        (skill("pdf", about="'   '"), "`description`: nothing that can be read"),
        (skill("pdf", body=""), "no instructions"),
        (skill("pdf", body="x" * MAX_SKILL_BYTES), "the limit is 60,000"),
        (skill("pdf", body="x").replace(b"x", b"\xff"), "can't decode byte"),
    ],
)
def test_what_is_no_pack_says_why_in_one_line(data: bytes | None, shown: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_pack({} if data is None else {"SKILL.md": data}, "pdf")
    assert shown in str(error.value)
    assert "\n" not in str(error.value)
