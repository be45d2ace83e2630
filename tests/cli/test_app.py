import importlib
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from executus.cli.app import COMMANDS, LazyGroup, cli, invoke
from executus.errors import StoreError, UserError

ROOT = Path(__file__).parent.parent.parent


def test_help_lists_every_command(capsys) -> None:
    assert invoke(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(entry.help in text for entry in COMMANDS.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(name: str) -> None:
    assert isinstance(getattr(importlib.import_module(COMMANDS[name].module), name), click.Command)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys) -> None:
    assert invoke([name, "--help"]) == 0
    assert f"Usage: executus {name}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nonsense"], ["run", "--nonsense"], ["server", "extra"]])
def test_a_wrong_call_is_exit_code_2(arguments: list[str], capsys) -> None:
    assert invoke(arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("executus")
    assert line.endswith("--help)")


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        (["frobnicate"], f"No such command 'frobnicate'. Commands: {', '.join(COMMANDS)}."),
        (["audit", "nope"], "No such command 'nope'. Commands: list, purge, show, verify."),
        (["deliveries", "dorp"], "Did you mean 'drop'? Commands: drop, retry."),
    ],
)
def test_an_unknown_command_names_the_known_ones(arguments, known, capsys) -> None:
    assert invoke(arguments) == 2
    assert known in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (UserError("the way out"), 2, "executus: the way out"),
        (StoreError("disk full"), 1, "executus: disk full"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 1, ""),
        (
            OSError(28, "No space left on device"),
            1,
            "executus: cannot write: No space left on device",
        ),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(monkeypatch, capsys, error, code, shown) -> None:
    monkeypatch.setattr(cli, "get_command", lambda *_: failing(error))
    assert invoke(["run"]) == code
    assert capsys.readouterr().err.strip() == shown


def test_a_bug_shows_its_traceback(monkeypatch, capsys) -> None:
    monkeypatch.setattr(cli, "get_command", lambda *_: failing(RuntimeError("a bug")))
    assert invoke(["run"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_table_entry_that_is_no_command_is_refused(monkeypatch) -> None:
    monkeypatch.setitem(COMMANDS, "main", COMMANDS["run"]._replace(module="executus.cli.app"))
    with pytest.raises(TypeError, match=r"executus\.cli\.app\.main is not a click command"):
        LazyGroup().get_command(click.Context(cli), "main")


def test_the_program_leaves_with_its_exit_code(executus) -> None:
    code, out, _ = executus("--version")
    assert (code, out.startswith("executus ")) == (0, True)
    assert executus("nonsense")[0] == 2


def failing(error: BaseException) -> click.Command:
    def callback() -> None:
        raise error

    return click.Command("run", callback=callback)


def test_ctrl_c_while_it_is_imported_is_silent(tmp_path) -> None:
    program = [sys.executable, "-X", "importtime", "-c", "import executus_cli as c; c.main()"]
    process = subprocess.Popen(
        [*program, "--version"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert any("executus.data" in line for line in process.stderr)  # and more is to come
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


def test_the_console_script_is_a_module_that_imports_nothing_of_ours_first() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"executus": "executus_cli:main"}
    code = "import executus_cli, sys; print('executus' in sys.modules); executus_cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "nonsense"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert "No such command 'nonsense'" in done.stderr
