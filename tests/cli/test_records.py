"""Lists of what is recorded, where nothing is."""

from pathlib import Path

import pytest

from executus.cli.app import invoke


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("audit list --caller ann", "no runs\n"),
        ("files list", "no run has files\n"),
        ("deliveries", "nothing waits\n"),
        ("deliveries --all", "no deliveries failed\n"),
    ],
)
def test_a_list_of_nothing_says_so_beside_stdout(
    arguments: str, said: str, monkeypatch, tmp_path: Path, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(arguments.split()) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", said)


def test_to_look_at_a_database_that_is_not_there_makes_none(tmp_path: Path, capsys) -> None:
    url = f"sqlite:///{tmp_path}/typo/x.db"
    assert invoke(["audit", "list", "--database", url]) == 1
    said = (
        f"there is no database file {tmp_path}/typo/x.db: run `executus migrate --database {url}`"
    )
    assert said in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()
    assert invoke(["migrate", "--database", url]) == 0
    assert invoke(["audit", "list", "--database", url]) == 0
