"""`executus packs`: subscribe, check, apply, list, and what a worker makes of it."""

import json
import shutil
from pathlib import Path

import pytest

from executus.cli.app import invoke
from tests.packs.packs import write_pack


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands work in, with a pack that is subscribed to."""
    monkeypatch.chdir(tmp_path)
    write_pack(tmp_path / "skills", "pdf", "One.", references__a="a")
    assert invoke(["packs", "add", "skills"]) == 0
    return tmp_path


def test_a_pack_is_pinned_and_its_update_waits_for_an_apply(executus, tmp_path: Path) -> None:
    home = write_pack(tmp_path / "skills", "pdf", "One.")
    (home / ".git").mkdir()
    code, out, err = executus("packs", "add", "skills")
    assert (code, err) == (0, "")
    assert out.startswith("pdf: pinned ")
    assert "left out .git" in out
    write_pack(tmp_path / "skills", "pdf", "Two.")
    code, out, _ = executus("packs", "check")
    assert (code, "update pending" in out, "changed SKILL.md" in out) == (1, True, True)
    code, out, _ = executus("packs", "list", "--json")
    shown = json.loads(out)
    assert (code, shown["name"], shown["source"]) == (0, "pdf", "skills/pdf")
    pending = shown["pending"]["digest"]
    assert pending != shown["digest"]
    kept = (tmp_path / ".executus" / "packs" / pending / "SKILL.md").read_text()
    assert kept.endswith("Two.\n")
    code, out, _ = executus("packs", "apply", "pdf", "--digest", pending[:12])
    assert (code, out) == (0, f"pdf: pinned {pending[:12]}, was {shown['digest'][:12]}\n")


def test_the_list_shows_what_a_person_decides_by(here: Path, capsys) -> None:
    capsys.readouterr()
    assert invoke(["packs", "list"]) == 0
    out = capsys.readouterr().out
    assert "skills/pdf\n    description: Does it well.\n    files: references/a\n" in out
    write_pack(here / "skills", "pdf", "Two.")
    invoke(["packs", "check"])
    capsys.readouterr()
    assert invoke(["packs", "list"]) == 0
    assert "    PENDING " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["packs", "apply"], "give NAMEs or --all; updates are pending for: none"),
        (["packs", "apply", "pdf", "--all"], "give NAMEs or --all"),
        (["packs", "apply", "--all", "--digest", "00"], "--digest goes with one NAME"),
        (["packs", "apply", "pdf"], "pdf: no update is pending"),
        (["packs", "check", "nope"], "not subscribed: nope; subscribed packs: pdf"),
        (["packs", "remove"], "Missing argument"),
        (["packs", "add", "nowhere"], "nowhere: No such file or directory"),
        (["packs", "add", "."], "no SKILL.md in it"),
    ],
)
def test_a_wrong_call_is_exit_code_2_and_one_message(here, capsys, arguments, shown) -> None:
    capsys.readouterr()
    assert invoke(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert shown in err
    assert "Traceback" not in err


def test_apply_all_takes_every_pending_update_and_no_other(here: Path, capsys) -> None:
    write_pack(here / "skills", "audit")
    assert invoke(["packs", "add", "skills/audit"]) == 0
    assert invoke(["packs", "apply", "--all"]) == 0
    assert "no update is pending" in capsys.readouterr().out
    write_pack(here / "skills", "pdf", "Two.")
    assert invoke(["packs", "check"]) == 1
    assert invoke(["packs", "apply", "--all"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("pdf: pinned")
    assert invoke(["packs", "check"]) == 0
    assert invoke(["packs", "remove", "pdf", "audit"]) == 0
    assert invoke(["packs", "list"]) == 0


def test_a_worker_without_the_pinned_content_does_not_start(here: Path, capsys) -> None:
    write_pack(here / "skills", "pdf", "Two.")
    shutil.rmtree(here / ".executus" / "packs")
    assert invoke(["packs", "list"]) == 1
    assert "PROBLEM: skill pack `pdf`: the pinned content" in capsys.readouterr().out
    assert invoke(["worker", "--dev"]) == 2
    err = capsys.readouterr().err
    assert "no worker starts:\n  skill pack `pdf`: the pinned content" in err
    assert "has other content" in err


def test_an_agent_file_names_packs_and_the_list_knows_which_are_there(here, capsys) -> None:
    (here / "agents").mkdir()
    (here / "agents" / "good.toml").write_text('skill_packs = ["pdf"]\n')
    (here / "agents" / "bad.toml").write_text('skill_packs = ["pdf", "nope"]\n')
    capsys.readouterr()
    assert invoke(["agents", "--agents", "agents"]) == 1
    out = capsys.readouterr().out
    assert "    skill_packs: pdf\n" in out
    assert out.count("PROBLEM") == 1
    assert "PROBLEM unknown skill pack 'nope'; packs of this host: pdf" in out
