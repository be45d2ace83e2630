"""From a receiver that is down, by a dead letter, to `executus deliveries retry`: the whole way."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook as Standard
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, PayloadCodec

from executus import Defaults, DeliveryTarget, Status
from executus.cli.app import invoke
from executus.delivery import Deliveries, Endpoint, Webhook
from executus.errors import DeliveryError, StoreError
from executus.letter import DeliveryItem, DeliveryReceipt
from executus.models.scripted import call, hang, say
from executus.ports import Ports
from executus.redelivery import Redelivery
from executus.stores.database import Database
from executus.stores.memory import MemoryAudit, MemoryLetters
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from executus.stores.sql_letters import SqlLetters
from executus.sweeper import Sweeper
from executus.sweeper_delivery import SweptDelivery
from executus.sweeper_workflow import SweepInput, SweepReport
from executus.tools import tool
from tests.delivery.kit import SECRET, webhook
from tests.delivery.receiver import OK, Receiver, answer
from tests.stores.clocks import opening

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
        again = f"kept as a dead letter: `executus deliveries retry {result.run_id}`"
        assert f"(the receiver answered 404); {again}" in result.warnings[0]

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

    assert await command("deliveries") == (0, "nothing waits\n")
    assert "delivered 20" in (await command("deliveries", "--all"))[1]
    _, shown = await command("audit", "show", run)
    assert "delivery_failed" in shown
    assert "LATE" in shown
    assert (await command("audit", "verify", run, "--head", result.audit_head or ""))[0] == 0
    assert await command("deliveries", "drop", run) == (0, "forgot 1\n")
    code, text = await command("deliveries", "retry", run)
    assert (code, f"nothing waits to be delivered of run `{run}`" in text) == (2, True)


# -- runs that died before they could deliver ---------------------------------------------------

ALL = SweepInput(everything=True, grace=0)


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Box:
    """Takes what is delivered; shut, it refuses."""

    def __init__(self) -> None:
        self.items: list[DeliveryItem] = []
        self.shut = False

    def problem(self, target: DeliveryTarget) -> str | None:
        return None

    async def deliver(self, item: DeliveryItem) -> DeliveryReceipt:
        if self.shut:
            raise DeliveryError("the box is shut")
        self.items.append(item)
        return DeliveryReceipt(id="x", target="y", delivered_at=datetime.now(UTC))


class Closing(MemoryAudit):
    """Cannot close while it is away."""

    away = True
    refused = 0

    async def close(self, closing):
        if self.away:
            self.refused += 1
            raise StoreError("the database is away")
        return await super().close(closing)


@pytest.mark.parametrize("death", ["terminate", "timeout", "second execution"])
async def test_what_became_of_a_dead_run_is_delivered_once_by_the_sweeper(env, death):
    client = await Client.connect(env.client.service_client.config.target_host)
    box, audit, letters = Box(), MemoryAudit(), MemoryLetters()
    ports = Ports(audit=audit, delivery=box, letters=letters)
    defaults = Defaults(history_events=50)
    async with kit(env, ports=ports, client=client, tools=[add], defaults=defaults) as k:
        run_id = f"dead-{death[:4]}-{k.queue}"
        many = death == "second execution"
        script = [*(call("add", a=n, b=1) for n in range(10 if many else 1)), hang()]
        target = DeliveryTarget(kind="box", address="x")
        request = k.request(script, run_id=run_id, max_runtime=600, tools=("add",), delivery=target)
        options = {"execution_timeout": timedelta(seconds=2)} if death == "timeout" else {}
        handle = await k.client.start_workflow(
            "executus.AgentRun", request, id=run_id, task_queue=k.queue, **options
        )
        while (await k.runs.state(run_id)).steps_total < (21 if many else 3):
            await asyncio.sleep(0.02)
        if death != "timeout":
            await handle.terminate("operator")
        result = await k.runs.result(run_id)
        made = [
            Sweeper(k.client, audit, delivery=SweptDelivery(box, letters, audit)) for _ in range(2)
        ]
        reports = await asyncio.gather(*(sweeper.sweep(ALL) for sweeper in made))
    assert sum(run.delivered for report in reports for run in report.swept) == 1
    [item] = box.items
    data = item.event.data
    assert (data.run_id, data.status, data.reason) == (run_id, result.status, result.reason)
    assert (data.agent, data.caller_id) == ("tester", "ann")
    assert data.usage["model_calls"] >= 1
    [entry] = [entry for entry in await audit.rows(run_id) if entry.name == "delivered"]
    assert entry.key.startswith(item.id)
    assert (await audit.verify(run_id)).ok


async def test_a_sweeper_that_meets_a_shut_receiver_leaves_a_dead_letter(env):
    client = await Client.connect(env.client.service_client.config.target_host)
    box, letters = Box(), MemoryLetters()
    box.shut = True
    ports = Ports(audit=MemoryAudit(), delivery=box, letters=letters)
    async with kit(env, ports=ports, client=client) as k:
        target = DeliveryTarget(kind="box")
        handle = await k.start([hang()], max_runtime=600, delivery=target)
        bare = await k.start([hang()], max_runtime=600)
        for one in (handle, bare):
            while (await k.runs.state(one.id)).steps_total < 1:
                await asyncio.sleep(0.02)
            await one.terminate("operator")
        report = await k.client.execute_workflow(
            "executus.Sweep",
            ALL,
            id=f"sweep-{k.queue}",
            task_queue=k.queue,
            result_type=SweepReport,
        )
    assert {run.run_id for run in report.swept if run.closed} == {handle.id, bare.id}
    [letter] = await letters.letters()
    assert (letter.run_id, letter.attempts, letter.error) == (handle.id, 1, "the box is shut")
    box.shut = False
    assert (await Redelivery(box, letters).send(letter)).receipt is not None
    assert [item.event.data.reason for item in box.items] == ["terminated"]


async def test_a_run_that_delivered_is_not_delivered_again_when_its_close_was_lost(env):
    box, audit, letters = Box(), Closing(), MemoryLetters()
    ports = Ports(audit=audit, delivery=box, letters=letters)
    async with kit(env, ports=ports, defaults=Defaults(cleanup_seconds=2)) as k:
        target = DeliveryTarget(kind="box")
        out = await k.run([say("42")], delivery=target)
        assert "audit close did not land" in out.result.warnings[0]
        audit.away = False
        dispatch = SweptDelivery(box, letters, audit)
        later = datetime.now(UTC) + timedelta(days=1)  # the run's own clock was skipped ahead
        await Sweeper(k.client, audit, delivery=dispatch, clock=lambda: later).sweep(ALL)
    assert len(box.items) == 1
    record = await audit.run(out.result.run_id)
    assert (record.status, record.closed_by) == (Status.OK, "sweeper")
    [entry] = [row for row in await audit.rows(out.result.run_id) if row.name == "delivered"]
    assert not entry.late


async def test_what_the_sweepers_process_cannot_deliver_is_kept_for_one_that_can(env):
    client = await Client.connect(env.client.service_client.config.target_host)
    box, audit, letters = Box(), MemoryAudit(), MemoryLetters()
    ports = Ports(audit=audit, delivery=box, letters=letters)
    endpoint = Endpoint("https://crm.example.com/hook", "EXECUTUS_WEBHOOK_CRM_SECRET")
    there = Deliveries({"webhook": Webhook({"crm": endpoint}, secrets={})})
    async with kit(env, ports=ports, client=client) as k:
        target = DeliveryTarget(kind="webhook", address="crm")
        handle = await k.start([hang()], max_runtime=600, delivery=target)
        while (await k.runs.state(handle.id)).steps_total < 1:
            await asyncio.sleep(0.02)
        await handle.terminate("operator")
        dispatch = SweptDelivery(there, letters, audit)
        report = await Sweeper(k.client, audit, delivery=dispatch).sweep(ALL)
    [swept] = report.swept
    assert (swept.closed, swept.delivered, swept.kept) == (True, False, True)
    [letter] = await letters.letters()
    assert (letter.run_id, letter.attempts) == (handle.id, 0)
    assert (
        letter.error == "webhook: the secret EXECUTUS_WEBHOOK_CRM_SECRET is not set on this worker"
    )
    assert (await Redelivery(box, letters).send(letter)).receipt is not None
    assert [item.event.data.reason for item in box.items] == ["terminated"]


class Sealed(PayloadCodec):
    """Encrypts, as far as who has no key can tell."""

    async def encode(self, payloads):
        return [
            Payload(metadata={"encoding": b"binary/sealed"}, data=payload.SerializeToString()[::-1])
            for payload in payloads
        ]

    async def decode(self, payloads):
        return [Payload.FromString(payload.data[::-1]) for payload in payloads]


async def test_a_history_that_does_not_read_is_left_to_a_sweeper_that_can(env):
    address = env.client.service_client.config.target_host
    sealed = replace(DataConverter.default, payload_codec=Sealed())
    client = await Client.connect(address, data_converter=sealed)
    box, audit, letters = Box(), MemoryAudit(), MemoryLetters()
    ports = Ports(audit=audit, delivery=box, letters=letters)
    async with kit(env, ports=ports, client=client) as k:
        target = DeliveryTarget(kind="box")
        handle = await k.start([hang()], max_runtime=600, delivery=target)
        while (await k.runs.state(handle.id)).steps_total < 1:
            await asyncio.sleep(0.02)
        await handle.terminate(reason="operator")
        dispatch = SweptDelivery(box, letters, audit)
        bare = await Client.connect(address, data_converter=pydantic_data_converter)
        report = await Sweeper(bare, audit, delivery=dispatch).sweep(ALL)
        assert report.swept == ()
        [line] = report.failed
        assert line.startswith(f"{handle.id}: its history does not read here (KeyError)")
        assert (await audit.run(handle.id)).status is None
        report = await Sweeper(k.client, audit, delivery=dispatch).sweep(ALL)
    assert [(run.closed, run.delivered) for run in report.swept] == [(True, True)]
    assert [item.event.data.reason for item in box.items] == ["terminated"]


async def test_a_run_that_delivered_and_then_died_is_not_delivered_again(env):
    client = await Client.connect(env.client.service_client.config.target_host)
    box, audit, letters = Box(), Closing(), MemoryLetters()
    ports = Ports(audit=audit, delivery=box, letters=letters)
    defaults = Defaults(cleanup_seconds=60)
    async with kit(env, ports=ports, client=client, defaults=defaults) as k:
        handle = await k.start([say("42")], delivery=DeliveryTarget(kind="box"))
        while not audit.refused:
            await asyncio.sleep(0.02)
        await handle.terminate("operator: it hangs in its cleanup")
        audit.away = False
        dispatch = SweptDelivery(box, letters, audit)
        report = await Sweeper(k.client, audit, delivery=dispatch).sweep(ALL)
    [item] = box.items
    assert (item.event.data.status, item.event.data.output) == (Status.OK, "42")
    assert [(run.closed, run.delivered, run.kept) for run in report.swept] == [(True, False, False)]
    assert await letters.letters(delivered=True) == []
    record = await audit.run(handle.id)
    assert (record.status, record.reason) == (Status.ERROR, "terminated")
    [entry] = [row for row in await audit.rows(handle.id) if row.name == "delivered"]
    assert (entry.key, entry.late) == (item.id, False)


class Slow(Box):
    """Takes the first delivery, and is slow to say so."""

    def __init__(self) -> None:
        super().__init__()
        self.said = asyncio.Event()

    async def deliver(self, item: DeliveryItem) -> DeliveryReceipt:
        receipt = await super().deliver(item)
        if len(self.items) == 1:
            await self.said.wait()
        return receipt


async def test_a_run_that_died_while_it_delivered_has_one_outcome(env):
    client = await Client.connect(env.client.service_client.config.target_host)
    box, audit, letters = Slow(), MemoryAudit(), MemoryLetters()
    ports = Ports(audit=audit, delivery=box, letters=letters)
    async with kit(env, ports=ports, client=client) as k:
        handle = await k.start([say("42")], delivery=DeliveryTarget(kind="box"))
        while not box.items:
            await asyncio.sleep(0.02)
        await handle.terminate("operator")
        dispatch = SweptDelivery(box, letters, audit)
        reports = [await Sweeper(k.client, audit, delivery=dispatch).sweep(ALL) for _ in range(2)]
        box.said.set()
    assert [[run.delivered for run in report.swept] for report in reports] == [[True], []]
    first, second = box.items
    assert (second.id, second.body) == (first.id, first.body)
    assert second.event.data.output == "42"
    [letter] = await letters.letters(delivered=True)
    assert (letter.id, letter.status) == (first.id, "ok")
    record = await audit.run(handle.id)
    assert (record.status, record.reason) == (Status.ERROR, "terminated")


async def test_letters_of_an_earlier_run_of_the_same_id_do_not_stand_for_a_later_one(env):
    client = await Client.connect(env.client.service_client.config.target_host)
    box, audit, letters = Box(), MemoryAudit(), MemoryLetters()
    box.shut = True
    ports = Ports(audit=audit, delivery=box, letters=letters)
    async with kit(env, ports=ports, client=client) as k:
        run_id = f"twice-{k.queue}"
        dispatch = SweptDelivery(box, letters, audit)
        for _ in range(2):
            target = DeliveryTarget(kind="box")
            request = k.request([hang()], run_id=run_id, max_runtime=600, delivery=target)
            handle = await k.client.start_workflow(
                "executus.AgentRun", request, id=run_id, task_queue=k.queue
            )
            while (await k.runs.state(run_id)).steps_total < 1:
                await asyncio.sleep(0.02)
            first = handle.first_execution_run_id
            await handle.terminate("operator")
            for _ in range(2):  # a sweep that died before its close, and the next one
                record = MemoryAudit()
                await record.start(opening(run_id, workflow_run_id=first))
                await Sweeper(k.client, record, delivery=dispatch).sweep(ALL)
    assert len(await letters.letters(run_id)) == 2


async def test_of_a_request_that_is_none_a_sweeper_delivers_what_the_run_would_have(env):
    client = await Client.connect(
        env.client.service_client.config.target_host, data_converter=pydantic_data_converter
    )
    box, letters, audit = Box(), MemoryLetters(), MemoryAudit()
    nowhere = Deliveries({})
    half = {"invocation": {"delivery": {"kind": "box"}}, "agent": 7}
    for number, argument in enumerate((half, {"agent": 7}, "words", None)):
        run_id = f"none-{number}-{uuid.uuid4()}"
        handle = await client.start_workflow(
            "executus.AgentRun", argument, id=run_id, task_queue="nobody-listens"
        )
        first = handle.first_execution_run_id or ""
        await handle.terminate(reason="operator")
        for delivery, store in ((nowhere, MemoryAudit()), (box, audit)):
            await store.start(opening(run_id, workflow_run_id=first))
            dispatch = SweptDelivery(delivery, letters, store)
            report = await Sweeper(client, store, delivery=dispatch).sweep(ALL)
            assert [(run.closed, run.kept) for run in report.swept] == [(True, False)], argument
    [item] = box.items
    assert (item.event.data.agent, item.event.data.reason) == ("unknown", "terminated")
