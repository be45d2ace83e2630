"""Temporal goes away while a command is at work."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from temporalio.service import RPCError, RPCStatusCode

from executus.cli import cancel
from executus.cli.app import invoke
from executus.server_program import find_program, server_command
from tests.cli.silent_model import SilentModel
from tests.mcp.hosting import free_port


def _serve(database: Path, port: int) -> subprocess.Popen[bytes]:
    program = find_program()
    assert program is not None
    command = server_command(
        program, database=database, port=port, ui_port=free_port(), namespace="default"
    )
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.1)
    raise AssertionError("the server does not listen")


def _until(stream, says: str) -> list[str]:
    lines: list[str] = []
    while line := stream.readline():
        lines.append(line)
        if says in line:
            return lines
    raise AssertionError(f"never said {says!r}: {lines}")


def test_who_follows_a_run_waits_while_temporal_is_away(start: Callable, tmp_path: Path) -> None:
    database, port = tmp_path / "t.db", free_port()
    server = _serve(database, port)
    try:
        with SilentModel() as model:
            at = {"TEMPORAL_ADDRESS": f"127.0.0.1:{port}"}
            run = start(["run", "How much?", "--id", "r1"], **model.variables, **at)
            assert model.called.wait(30)
            server.kill()
            server.wait()
            _until(run.stderr, "waiting   Temporal does not answer")
            server = _serve(database, port)
            _until(run.stderr, "going on  Temporal answers again")
            run.send_signal(signal.SIGINT)
            out, err = run.communicate(timeout=60)
        assert run.returncode == 130, err
        assert "cancelled (cancel_signal)" in err
        assert "Traceback" not in out + err
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(
    ("status", "way_out"),
    [
        (RPCStatusCode.UNAVAILABLE, "once it answers"),
        (RPCStatusCode.PERMISSION_DENIED, "(PERMISSION_DENIED)\n"),
    ],
)
def test_a_call_that_temporal_fails_is_one_line(status, way_out, monkeypatch, capsys) -> None:
    async def fail(*_: object) -> None:
        raise RPCError("tcp connect error", status, b"")

    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal.test:7233")
    monkeypatch.setattr(cancel, "_cancel", fail)
    assert invoke(["cancel", "r1"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("executus: Temporal at temporal.test:7233 did not do what was asked")
    assert err.count("\n") == 1
    assert way_out in err
