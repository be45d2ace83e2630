"""The exit code and the output survive the way out."""

import subprocess
import sys


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_everything_written_arrives() -> None:
    done = run("from executus.cli.exit import leave; print('x' * 100_000, end=''); leave(3)")
    assert done.returncode == 3
    assert len(done.stdout) == 100_000


def test_a_closed_pipe_does_not_change_the_code() -> None:
    done = run("import sys; from executus.cli.exit import leave; sys.stdout.close(); leave(4)")
    assert (done.returncode, done.stderr) == (4, "")


def test_no_finaliser_runs_after_it() -> None:
    done = run(
        "import atexit; from executus.cli.exit import leave\n"
        "atexit.register(print, 'finalised'); leave(0)"
    )
    assert done.stdout == ""


def test_a_stream_that_the_shell_closed_is_no_traceback() -> None:
    command = [sys.executable, "-c", "from executus.cli import main; main(['--version'])"]
    closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], stderr=-1, check=False)  # noqa: S607
    assert (closed.returncode, closed.stderr) == (0, b"")
