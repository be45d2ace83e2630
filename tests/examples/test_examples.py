"""The programs of `examples/`, as people start them."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.provider_server import ProviderServer, call, say

FOLDER = Path(__file__).parent.parent.parent / "examples"
SHARED = "host.py"


def program(name: str, cwd: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), *arguments],
        cwd=cwd,
        env=os.environ | {"EXECUTUS_UI_PORT": "0"} | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def here(server, tmp_path: Path):
    """Run an example in an empty folder, on the session's server."""
    address = server.client.service_client.config.target_host

    def run(name: str) -> str:
        code, out, err = program(name, tmp_path, TEMPORAL_ADDRESS=address)
        assert (code, err) == (0, ""), out
        assert f"{name}: Temporal at {address}, offline" in out
        assert "status    ok (answer)" in out
        return out

    return run


def test_hello_starts_a_server_of_its_own_and_takes_a_city(tmp_path: Path) -> None:
    code, out, err = program("hello", tmp_path, "Tokyo")
    assert (code, err) == (0, "")
    assert 'tool.local_hour: local_hour(city="Tokyo")' in out
    assert "Your clocks show" in out


async def test_with_a_key_the_same_program_asks_a_real_provider(server, tmp_path: Path) -> None:
    address = server.client.service_client.config.target_host
    async with ProviderServer() as provider:
        provider.script("m-1", [call("local_hour", city="Oslo"), say("God kveld, Oslo!")])
        code, out, err = await asyncio.to_thread(
            program,
            "hello",
            tmp_path,
            TEMPORAL_ADDRESS=address,
            OPENAI_API_KEY="sk-canary-0123456789abcdefghij",
            OPENAI_BASE_URL=provider.openai_url,
            EXECUTUS_TIER_FAST="openai/m-1",
        )
    assert (code, err) == (0, "")
    assert "openai/m-1" in out.splitlines()[0]
    assert "offline" not in out
    assert "God kveld, Oslo!" in out
    assert len(provider.journal) == 2


def test_the_support_desk_refunds_after_a_yes_and_delivers_to_a_file(here, tmp_path: Path) -> None:
    out = here("support_desk")
    assert out.index("approved: refund") < out.index("tool.refund")
    (file,) = (tmp_path / ".executus" / "delivered").iterdir()
    assert f"delivered .executus/delivered/{file.name}" in out
    data = json.loads(file.read_text())["data"]
    assert data["status"] == "ok"
    assert "49 dollars" in data["output"]


def test_the_research_pipeline_goes_on_without_its_optional_phase(here) -> None:
    out = here("research_pipeline")
    phases = [line.split(" | ")[0].split()[-1] for line in out.splitlines() if " | " in line]
    assert list(dict.fromkeys(phases)) == ["Plan", "Search", "Check", "Write"]
    assert "error     Check" in out
    assert "children  2" in out


def test_the_long_migration_is_one_run_over_executions_that_hears_person_and_critic(here) -> None:
    out = here("long_migration")
    assert "steered: heard in turn" in out
    assert "critic: extend 900 s, nudge: " in out
    assert "Moved 11 tables; audit_log stays where it is; payments took long." in out
    assert 'migrate(table="audit_log")' not in out
    executions = next(line for line in out.splitlines() if line.startswith("executions"))
    assert int(executions.split()[1].rstrip(",")) >= 3


def test_every_example_is_run_by_make_and_told_of_in_the_readme() -> None:
    names = {file.name for file in FOLDER.glob("*.py")} - {SHARED}
    makefile = (FOLDER.parent / "Makefile").read_text()
    readme = (FOLDER.parent / "README.md").read_text()
    assert names
    for name in names:
        assert name.removesuffix(".py") in makefile
        assert f"(examples/{name})" in readme
