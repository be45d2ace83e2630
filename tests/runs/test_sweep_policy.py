"""`executus sweep` about runs of a host with a policy: by the command as people type it."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from temporalio.client import Client

from executus import Defaults
from executus.cli.app import invoke
from executus.errors import StoreError
from executus.models.scripted import fail, say
from executus.ports import Ports
from executus.stores.database import Database
from executus.stores.redaction import Policy
from executus.stores.sql_audit import SqlAudit

from .kit import kit

Command = Callable[..., Awaitable[tuple[int, str]]]
QUICK = Defaults(cleanup_seconds=2)
APP = """
import os
from executus.plugin import ExecutusPlugin
from executus.ports import Ports
from executus.stores.database import Database
from executus.stores.redaction import Policy
from executus.stores.sql_audit import SqlAudit

def make():
    database = Database(os.environ["OUR_DATABASE"])
    return ExecutusPlugin(ports=Ports(audit=SqlAudit(database, policy=Policy(text_bytes=2_000))))

def bare():
    return ExecutusPlugin()
"""


class Away(SqlAudit):
    """Takes openings only."""

    async def close(self, closing):
        raise StoreError("away")

    async def record(self, run_id, rows):
        raise StoreError("away")


@pytest.fixture
def command(capsys, monkeypatch, tmp_path: Path, env) -> Command:
    """An `executus` command line on the same server; in a thread, for it has its own loop."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", env.client.service_client.config.target_host)
    monkeypatch.syspath_prepend(tmp_path)

    async def call(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(invoke, list(arguments))
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call


async def beside(env) -> Client:
    """A client that skips no time: the command's clock is the real one."""
    return await Client.connect(env.client.service_client.config.target_host)


async def bodies(database: Database, run_id: str) -> dict[str, str]:
    """What stands in each entry of a run."""
    entries = await SqlAudit(database).rows(run_id)
    return {f"{entry.entry} {entry.kind}".strip(): json.dumps(entry.body) for entry in entries}


async def test_a_sweep_by_command_writes_no_content_that_a_host_may_forbid(
    env, database: Database, url, command: Command
) -> None:
    audit = Away(database, policy=Policy(content="digest", digest_key=b"k" * 32))
    ports, client = Ports(audit=audit), await beside(env)
    async with kit(env, ports=ports, client=client, defaults=QUICK) as k:
        answered = await k.run([say("the patient has XYZ")], prompt="about the patient ABC")
        failed = await k.run([fail("rejected", "no such patient XYZ")], prompt="about ABC")
        assert "XYZ" in (failed.result.error or "")
        code, text = await command("sweep", "--all", "--grace", "0s", "--database", url)
    assert code == 0, text
    for out in (answered, failed):
        kept = await bodies(database, out.result.run_id)
        assert {"open", "close"} < set(kept), "rows of the run were added"
        assert not [entry for entry in kept.values() if "XYZ" in entry or "ABC" in entry]
    assert "--app" in kept["close"]


async def test_a_sweep_by_command_writes_what_the_app_that_is_named_allows(
    env, command: Command, tmp_path: Path, monkeypatch
) -> None:
    # SQLite only: what an app opened is the app's, and open until the process leaves.
    database = Database(f"sqlite:///{tmp_path}/app.db")
    await database.migrate()
    monkeypatch.setenv("OUR_DATABASE", f"sqlite:///{tmp_path}/app.db")
    name = f"host_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(APP)
    ports, client = Ports(audit=Away(database)), await beside(env)
    async with kit(env, ports=ports, client=client, defaults=QUICK) as k:
        out = await k.run([say("the answer is XYZ")])
        code, text = await command("sweep", "--all", "--grace", "0s", "--app", f"{name}:make")
        assert (code, f"{out.result.run_id}: ok/answer, closed" in text) == (0, True), text
        assert "the answer is XYZ" in (await bodies(database, out.result.run_id))["close"]
        code, text = await command("sweep", "--app", f"{name}:bare")
        assert (code, "no `audit` and no `budget` to sweep" in text) == (2, True)
    await database.close()
