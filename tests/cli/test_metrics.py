"""EXECUTUS_METRICS_ADDRESS, as Prometheus and whoever mistypes it see it."""

import json
import re
import socket
import urllib.request
from pathlib import Path

import pytest

from executus.cli.app import invoke
from executus.metrics import HELP, MODEL_CALLS, RUNS
from executus.settings import load_settings
from tests.cli.test_worker import APP, first_line, stop
from tests.mcp.hosting import free_port


def test_prometheus_reads_what_a_worker_counted(start, executus, tmp_path: Path) -> None:
    (tmp_path / "my_host.py").write_text(APP)
    metrics = f"127.0.0.1:{free_port()}"
    arguments = ["worker", "--dev", "--app", "my_host:plugin"]
    worker = start(arguments, EXECUTUS_METRICS_ADDRESS=metrics)
    serving = json.loads(first_line(worker, r'\{.*"serving".*\}').group())
    assert serving["metrics"] == metrics
    address = {"TEMPORAL_ADDRESS": serving["address"]}
    assert executus("run", "--agent", "greeter", "hi", **address)[0] == 0
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    labels = 'agent="greeter",[^}]*reason="answer",[^}]*status="ok"'
    assert re.search(rf"^executus_runs{{{labels}[^}}]*}} 1$", text, re.MULTILINE), text
    assert re.search(r'^executus_run_seconds_bucket{[^}]*le="604800"[^}]*} 1$', text, re.MULTILINE)
    assert re.search(r'^executus_model_calls{[^}]*outcome="ok"[^}]*} 1$', text, re.MULTILINE)
    assert "temporal_workflow_completed" in text
    assert {name for name in HELP if f"# HELP {name} {HELP[name]}" in text} >= {RUNS, MODEL_CALLS}
    stop(worker)
    assert worker.returncode == 0


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("localhost:9464", "invalid socket address syntax"),
        ("127.0.0.1:{}", "Address already in use"),
    ],
)
def test_an_address_nobody_can_listen_on_is_one_line(executus, address, why) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        named = address.format(taken.getsockname()[1])
        code, out, err = executus("worker", "--dev", EXECUTUS_METRICS_ADDRESS=named)
    assert (code, out) == (2, "")
    said = err.splitlines()[-1]
    assert said.startswith(f"executus: EXECUTUS_METRICS_ADDRESS: cannot listen on {named}: ")
    assert why in said
    assert "name a free IP:PORT" in said
    assert "Traceback" not in err


def test_what_is_no_address_is_refused_before_anything_starts(monkeypatch, capsys) -> None:
    monkeypatch.setenv("EXECUTUS_METRICS_ADDRESS", "http://127.0.0.1:9464/metrics")
    assert invoke(["worker", "--dev"]) == 2
    assert "EXECUTUS_METRICS_ADDRESS" in capsys.readouterr().err
    monkeypatch.setenv("EXECUTUS_METRICS_ADDRESS", "[::1]:9464")
    assert load_settings().metrics_address == "[::1]:9464"
