"""What a model sees: one line a pack, and the rest on demand."""

import pytest

from executus.errors import ToolError
from executus.packs import Packs, UnknownPack
from executus.packs.prompt import catalogue, read_skill
from executus.plan import PackRef

from .packs import pack

PDF = pack("pdf", "# PDF", references__a=b"About a.", logo=b"\xff\x00")
PACKS = Packs((PDF, pack("audit"), pack("secret")))
GRANT = (PDF.ref, pack("audit").ref)


def test_the_catalogue_is_one_line_a_pack_and_nothing_without_packs() -> None:
    text = catalogue((PDF, pack("audit")))
    assert text.splitlines()[1:] == ["- `pdf`: Does it well.", "- `audit`: Does it well."]
    assert "`skill_use`" in text
    assert "# PDF" not in text
    assert catalogue(()) == ""


def test_a_body_is_loaded_with_its_version_and_its_files() -> None:
    text = read_skill(PACKS, GRANT, "pdf", None)
    assert text.startswith(f"Skill `pdf` (sha256 {PDF.digest[:12]})\n\n# PDF\n")
    assert text.endswith("with `file`: references/a, logo")
    assert read_skill(PACKS, GRANT, "pdf", "SKILL.md") == text
    assert "Files" not in read_skill(PACKS, GRANT, "audit", None)


def test_a_file_is_loaded_by_its_path() -> None:
    assert read_skill(PACKS, GRANT, "pdf", "references/a") == "About a."
    assert read_skill(PACKS, GRANT, "pdf", "./references/a") == "About a."


@pytest.mark.parametrize(
    "file", ["nope", "../audit/SKILL.md", "/etc/passwd", "references/../SKILL.md", "references", ""]
)
def test_a_path_out_of_the_pack_is_a_file_it_does_not_have(file: str) -> None:
    with pytest.raises(ToolError, match=r"no file .* its files: references/a, logo"):
        read_skill(PACKS, GRANT, "pdf", file)


def test_a_file_that_is_no_text_is_told_and_not_shown() -> None:
    with pytest.raises(ToolError, match=r"`logo` is no text \(2 bytes\)"):
        read_skill(PACKS, GRANT, "pdf", "logo")


@pytest.mark.parametrize("name", ["secret", "nope"])
def test_a_pack_that_was_not_granted_is_unknown_whether_the_host_has_it_or_not(name: str) -> None:
    with pytest.raises(ToolError) as error:
        read_skill(PACKS, GRANT, name, None)
    assert str(error.value) == f"unknown skill '{name}'; your skills: pdf, audit"


def test_a_body_that_no_longer_matches_the_plan_is_refused() -> None:
    for packs in (Packs((pack("pdf", "# Evil"),)), Packs()):
        with pytest.raises(ToolError, match="no longer the one that this run began with"):
            read_skill(packs, GRANT, "pdf", None)
    with pytest.raises(ToolError, match="no longer the one"):
        read_skill(PACKS, [PackRef(name="pdf", digest="0" * 64)], "pdf", "logo")


def test_an_unknown_pack_is_refused_with_the_known_ones_and_the_way_out() -> None:
    with pytest.raises(UnknownPack) as error:
        PACKS.named(["nope", "pdf", "nada"])
    text = str(error.value)
    assert text.startswith("unknown skill packs 'nope', 'nada'; packs of this host: audit, pdf, se")
    assert "`executus packs add`" in text
    assert [p.name for p in PACKS.named(["pdf", "audit", "pdf"])] == ["pdf", "audit"]
