"""From a receiver that is down, by a dead letter, to `executus deliveries retry`: the whole way."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from standardwebhooks import Webhook as Standard

from executus import Status
from executus.cli.app import invoke
from executus.delivery import Deliveries
from executus.delivery_target import DeliveryTarget
from executus.models.scripted import say
from executus.ports import Ports
from executus.stores.database import Database
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from executus.stores.sql_letters import SqlLetters
from tests.delivery.kit import SECRET, webhook
from tests.delivery.receiver import OK, Receiver, answer

from .kit import kit

Command = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def command(capsys, monkeypatch, url) -> Command:
    """An `executus` command line over the same database; in a thread, for it has its own loop."""
    monkeypatch.setenv("EXECUTUS_DATABASE_URL", url)
    monkeypatch.setenv("EXECUTUS_DELIVERY_NETWORKS", "127.0.0.0/8")
    monkeypatch.setenv("EXECUTUS_WEBHOOK_HERE_SECRET", SECRET)

    async def call(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(invoke, list(arguments))
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call


async def test_a_dead_letter_is_listed_delivered_by_command_and_proved(
    env, database: Database, command: Command, monkeypatch
) -> None:
    async with Receiver([answer(404), answer(500), OK]) as there:
        monkeypatch.setenv("EXECUTUS_WEBHOOK_HERE", there.url())
        ports = Ports(
            audit=SqlAudit(database),
            budget=SqlBudget(database, unlimited_by_default=True),
            delivery=Deliveries({"webhook": webhook(there.url())}),
            letters=SqlLetters(database),
        )
        async with kit(env, ports=ports) as k:
            target = DeliveryTarget(kind="webhook", address="here")
            out = await k.run([say("the answer")], delivery=target)
        result, run = out.result, out.result.run_id
        assert (result.status, result.delivery) == (Status.OK, None)
        assert "(the receiver answered 404); kept as a dead letter" in result.warnings[0]

        code, text = await command("deliveries")
        assert code == 0
        assert f"{run}  ok  webhook here  1 attempt: the receiver answered 404" in text
        assert SECRET not in text
        _, text = await command("deliveries", "--json")
        assert json.loads(text)["item"]["event"]["data"]["output"] == "the answer"

        code, text = await command("deliveries", "retry", "--all")
        assert (code, f"FAILED    {run} to webhook here: the receiver answered 500" in text) == (
            1,
            True,
        )
        code, text = await command("deliveries", "retry", run)
        assert (code, text) == (0, f"delivered {run} to webhook here, attempt 3\n")
    assert len(there.seen) == 3
    assert len({(got.headers["webhook-id"], got.body) for got in there.seen}) == 1
    last = there.seen[-1]
    assert Standard(SECRET).verify(last.body, last.headers)["data"]["run_id"] == run

    assert await command("deliveries") == (0, "")
    assert "delivered 20" in (await command("deliveries", "--all"))[1]
    _, shown = await command("audit", "show", run)
    assert "delivery_failed" in shown
    assert "LATE" in shown
    assert (await command("audit", "verify", run, "--head", result.audit_head or ""))[0] == 0
    assert await command("deliveries", "drop", run) == (0, "forgot 1\n")
    code, text = await command("deliveries", "retry", run)
    assert (code, f"nothing waits to be delivered of run `{run}`" in text) == (2, True)
