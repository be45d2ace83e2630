"""The embedded server, for real: one per folder, shared, and gone when its last user is."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from executus import server_guard, server_program
from executus.connect import connect
from executus.errors import ConfigError
from executus.server import EmbeddedServer

HOLDER = """
import asyncio, sys
from pathlib import Path
from executus.server import EmbeddedServer
async def main():
    async with EmbeddedServer(Path(sys.argv[1])) as server:
        print(server.address, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


async def start_a_workflow(client: Client) -> None:
    await client.start_workflow("any", id="kept", task_queue="nobody")


async def test_two_users_share_one_server_and_the_last_one_stops_it(tmp_path: Path) -> None:
    first, second = EmbeddedServer(tmp_path), EmbeddedServer(tmp_path)
    await first.__aenter__()
    async with second:
        assert second.address == first.address
        assert second.start_seconds == 0.0 < first.start_seconds
        guard = json.loads((tmp_path / "server.json").read_text())["pid"]
        await first.__aexit__(None, None, None)
        assert alive(guard)
        await connect(second.profile)
    wait_until(lambda: not alive(guard))
    assert not (tmp_path / "server.json").exists()


async def test_what_was_written_survives_a_killed_server(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server:
        await start_a_workflow(await connect(server.profile))
        guard = json.loads((tmp_path / "server.json").read_text())["pid"]
        (temporal,) = children(guard)
        os.kill(temporal, signal.SIGKILL)
        wait_until(lambda: not alive(guard))
    async with EmbeddedServer(tmp_path) as server:
        client = await connect(server.profile)
        description = await client.get_workflow_handle("kept").describe()
        assert description.status is not None


def test_a_killed_user_takes_the_server_with_it(tmp_path: Path) -> None:
    user = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert user.stdout is not None
    assert user.stdout.readline()
    guard = json.loads((tmp_path / "server.json").read_text())["pid"]
    (temporal,) = children(guard)
    user.kill()
    user.communicate()
    wait_until(lambda: not alive(guard) and not alive(temporal))


async def test_a_killed_guard_takes_the_server_with_it_and_the_next_user_starts_one(
    tmp_path: Path,
) -> None:
    async with EmbeddedServer(tmp_path, wait_for_stop=False) as server:
        running = json.loads((tmp_path / "server.json").read_text())
        (temporal,) = children(running["pid"])
        os.kill(running["pid"], signal.SIGKILL)
        wait_until(lambda: not alive(temporal))
        async with EmbeddedServer(tmp_path) as next_one:
            assert next_one.address != server.address


async def test_a_namespace_is_made_when_it_is_asked_for(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path, namespace="agents") as server:
        client = await connect(server.profile)
        assert client.namespace == "agents"
        profile = server.profile
        object.__setattr__(profile, "namespace", "nowhere")
        with pytest.raises(ConfigError, match="namespace `nowhere` is not there; set TEMPORAL_NAM"):
            await connect(profile)


async def test_a_taken_ui_port_is_replaced(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path / "a") as first:
        port = int(first.ui_url.rpartition(":")[2])
        async with EmbeddedServer(tmp_path / "b", ui_port=port) as second:
            assert second.ui_url != first.ui_url


async def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path, monkeypatch) -> None:
    broken = tmp_path / "temporal"
    broken.write_text("#!/bin/sh\necho disk is full >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr("executus.server.find_program", lambda: broken)
    with pytest.raises(ConfigError, match=r"temporal\.log ends: .*disk is full"):
        await EmbeddedServer(tmp_path / "data").__aenter__()


async def test_a_data_folder_that_cannot_be_made_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="set EXECUTUS_DATA_DIR"):
        await EmbeddedServer(tmp_path / "file" / "data").__aenter__()


def test_it_must_be_entered_before_it_has_an_address(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="async with EmbeddedServer"):
        _ = EmbeddedServer(tmp_path).address


async def test_without_the_command_the_sdk_downloads_it(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "bin"

    class Downloaded:
        async def __aenter__(self) -> None:
            (folder / "temporal-sdk").write_text("")
            (folder / "temporal-sdk").chmod(0o755)

        async def __aexit__(self, *_: object) -> None: ...

    async def start_local(**options: str) -> Downloaded:
        assert options == {"download_dest_dir": str(folder)}
        return Downloaded()

    monkeypatch.setattr(WorkflowEnvironment, "start_local", start_local)
    assert await server_program.download_program(folder) == folder / "temporal-sdk"


async def test_a_failed_download_names_the_other_ways(tmp_path: Path, monkeypatch) -> None:
    async def start_local(**_: str) -> None:
        raise RuntimeError("dns error")

    monkeypatch.setattr(WorkflowEnvironment, "start_local", start_local)
    with pytest.raises(ConfigError, match=r'dns error.*"executus\[server\]".*TEMPORAL_ADDRESS'):
        await server_program.download_program(tmp_path / "bin")


def test_the_guard_kills_a_server_that_does_not_listen(monkeypatch) -> None:
    monkeypatch.setattr(server_guard, "STOP_SECONDS", 0.2)
    code = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(flush=True)\ntime.sleep(60)"
    )
    deaf = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert deaf.stdout is not None
    deaf.stdout.readline()
    server_guard.stop(deaf)
    deaf.stdout.close()
    assert deaf.returncode == -signal.SIGKILL


async def test_a_lock_that_nobody_gives_back_is_an_error_not_a_hang(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("executus.server.READY_SECONDS", 0.1)
    with (tmp_path / "server.start").open("a") as file:
        assert server_guard.try_lock(file, shared=False)
        with pytest.raises(ConfigError, match="stays locked"):
            await asyncio.wait_for(EmbeddedServer(tmp_path).__aenter__(), 10)


def test_a_sweep_on_the_folders_own_server_is_told_what_it_needs(executus) -> None:
    code, out, err = executus("sweep", "--install")
    assert code == 0, err
    assert out.startswith("schedule executus-sweep created: every 0:01:00")
    assert "runs only while a command does: keep `executus worker --dev` running" in err
    code, out, _ = executus("sweep", "--uninstall")
    assert (code, out) == (0, "schedule executus-sweep removed\n")
