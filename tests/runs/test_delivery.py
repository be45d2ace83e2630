"""Every ending is delivered, whatever the receiver does, and no receiver changes an ending."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook as Standard

from executus import Reason, RunnableAgent, RunRequest, Status
from executus.backstop import Backstop
from executus.delivery import Deliveries
from executus.delivery_target import DeliveryTarget
from executus.errors import DeliveryError, StoreError
from executus.letter import DeliveryItem, DeliveryReceipt
from executus.limits import Defaults
from executus.models.scripted import call, fail, hang, say
from executus.ports import Ports
from executus.stores.caps import CapChange
from executus.stores.memory import MemoryAudit, MemoryBudget, MemoryLetters
from executus.tools import tool
from tests.delivery.kit import SECRET, webhook
from tests.delivery.receiver import OK, Receiver, answer

from .gate import Gate
from .kit import Kit, Outcome, kit

BOX = DeliveryTarget(kind="box", address="somewhere")
HERE = DeliveryTarget(kind="webhook", address="here")
LIFE = ["executus.resolve", "executus.budget.check", "executus.audit.start"]
END = ["executus.budget.commit", "executus.deliver", "executus.audit.close"]
KEPT = [*END[:2], "executus.deliver.keep", END[2]]


class Box:
    """Takes what is delivered, after as many failures as it is told."""

    def __init__(self, *failures: Exception, last: Exception | None = None) -> None:
        self.failures = list(failures)
        self.last = last
        self.items: list[DeliveryItem] = []
        self.tried = 0

    def problem(self, target: DeliveryTarget) -> str | None:
        return None if target.address else "a box needs an address"

    async def deliver(self, item: DeliveryItem) -> DeliveryReceipt:
        self.tried += 1
        failure = self.failures.pop(0) if self.failures else self.last
        if failure is not None:
            raise failure
        self.items.append(item)
        return DeliveryReceipt(id="mine", target="secret://x", delivered_at=datetime.now(UTC))


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def ports(box: Box | None = None, **others: Any) -> Ports:
    base = {
        "audit": MemoryAudit(),
        "budget": MemoryBudget(unlimited_by_default=True),
        "delivery": Deliveries({"box": box or Box()}),
        "letters": MemoryLetters(),
    }
    return Ports(**{**base, **others})


async def entry(p: Ports, run_id: str, name: str):
    """The record's entry about the delivery: inside the chain that the result's head proves."""
    record = await p.audit.run(run_id)
    assert record is not None
    assert (record.n_close, (await p.audit.verify(run_id)).ok) == (1, True)
    [found] = [row for row in await p.audit.rows(run_id) if row.name == name]
    assert not found.late
    return {key: value["value"] for key, value in found.body["content"].items()}


async def test_the_outcome_is_delivered_and_its_receipt_is_inside_the_chain(env):
    box = Box()
    p = ports(box)
    async with kit(env, tools=[add], ports=p) as k:
        out = await k.run([call("add", a=1, b=2), say("3")], tools=("add",), delivery=BOX)
    result = out.result
    assert (result.status, result.warnings) == (Status.OK, ())
    [item] = box.items
    data = item.event.data
    assert (data.run_id, data.output, data.agent, data.caller_id) == (
        result.run_id,
        "3",
        "tester",
        "ann",
    )
    assert (data.ended_at, data.usage) == (result.ended_at, result.usage.model_dump())
    assert result.delivery is not None
    assert (result.delivery.id, result.delivery.target) == (item.id, "box somewhere")
    kept = await entry(p, result.run_id, "delivered")
    assert (kept["id"], kept["attempts"]) == (item.id, 1)
    assert result.audit_head == (await p.audit.run(result.run_id)).closed_head
    step = ["executus.model", "tool.add", "executus.model"]
    assert out.activities == [*LIFE, *step, *END]


async def test_without_a_target_nothing_is_scheduled(env):
    box = Box()
    async with kit(env, ports=ports(box)) as k:
        out = await k.run([say("x")])
    assert out.activities == [*LIFE, "executus.model", END[0], END[2]]
    assert (out.result.delivery, box.tried) == (None, 0)


async def test_a_webhook_is_tried_again_with_the_same_id_and_signed(env):
    async with Receiver([answer(503), answer(429, "retry-after: 2"), OK]) as there:
        p = ports(delivery=Deliveries({"webhook": webhook(there.url())}))
        async with kit(env, ports=p) as k:
            out = await k.run([say("done")], delivery=HERE)
            text = out.history.to_json()
    assert len(there.seen) == 3
    assert len({(r.headers["webhook-id"], r.body) for r in there.seen}) == 1
    last = there.seen[-1]
    assert Standard(SECRET).verify(last.body, last.headers)["data"]["output"] == "done"
    receipt = out.result.delivery
    assert (receipt.attempts, receipt.status_code, receipt.target) == (3, 204, "webhook here")
    assert (await entry(p, out.result.run_id, "delivered"))["status_code"] == 204
    assert SECRET not in text
    assert there.url() not in text, "a named endpoint's URL is the host's own affair"
    assert out.activities[-3:] == END


# -- each ending -------------------------------------------------------------------------------


async def cancelled(k: Kit, run_id: str) -> None:
    while (await k.runs.state(run_id)).steps_total < 1:
        await asyncio.sleep(0.02)
    await k.client.get_workflow_handle(run_id).cancel()


async def stopped(k: Kit, run_id: str) -> None:
    while (await k.runs.state(run_id)).steps_total < 1:
        await asyncio.sleep(0.02)
    await k.runs.cancel(run_id, "enough")


ENDINGS = {
    "answer": ([say("42")], {}, Reason.ANSWER, None),
    "iterations": ([call("add", a=1, b=1), say("so far")], {"max_iterations": 1}, None, None),
    "provider": ([fail("provider_auth")], {}, Reason.PROVIDER_AUTH, None),
    "deadline": ([hang()], {"max_runtime": 1}, Reason.DEADLINE, None),
    "signal": ([hang()], {"max_runtime": 600}, Reason.CANCEL_SIGNAL, stopped),
    "native": ([hang()], {"max_runtime": 600}, Reason.CANCEL_REQUEST, cancelled),
    "rejected": ([], {"caller_id": "poor"}, Reason.BUDGET_REJECTED, None),
    "tier": ([], {"model_tier": "nowhere"}, Reason.UNKNOWN_TIER, None),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_each_ending_is_delivered_as_it_is(env, name):
    script, fields, reason, act = ENDINGS[name]
    box = Box()
    p = ports(box)
    await p.budget.set_cap(CapChange("caller:poor", "day", "seconds", 1.0, by="test"))
    async with kit(env, tools=[add], ports=p, defaults=Defaults(heartbeat_seconds=2)) as k:
        handle = await k.start(script, tools=("add",), delivery=BOX, **fields)
        if act is not None:
            await act(k, handle.id)
        out = await k.outcome(handle.id)
    [item] = box.items
    data = item.event.data
    assert (data.status, data.reason) == (out.result.status, out.result.reason)
    assert (data.error, data.output) == (out.result.error, out.result.output)
    assert reason in {None, out.result.reason}
    assert out.result.delivery.id == item.id
    await entry(p, handle.id, "delivered")
    assert out.activities[-2:] == END[1:]


async def test_an_unknown_agent_is_delivered(env):
    box = Box()
    async with kit(env, ports=ports(box)) as k:
        request = RunRequest(agent="nobody", invocation=k.request(None, delivery=BOX).invocation)
        handle = await k.runs.start(request)
        out = await k.outcome(handle.id)
    assert out.result.reason is Reason.UNKNOWN_AGENT
    assert [item.event.data.reason for item in box.items] == ["unknown_agent"]
    assert out.activities == ["executus.resolve", *END[1:]]


TARGET = {"kind": "box", "address": "somewhere"}
UNREADABLE = {
    "misspelt": {"agent": {"name": "a", "colour": 1}, "invocation": {"delivery": TARGET}},
    "oversize": {"agent": {"name": "a"}, "invocation": {"delivery": TARGET, "prompt": "x" * 10**6}},
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_a_request_that_cannot_be_run_is_delivered_where_its_target_can_be_read(env, name):
    box = Box()
    async with kit(env, ports=ports(box)) as k:
        out = await raw_run(k, UNREADABLE[name])
    [item] = box.items
    assert item.event.data.reason == out.result.reason
    assert item.event.data.status is Status.ERROR
    assert out.activities == END[1:]


@pytest.mark.parametrize(
    "invocation", [{}, {"delivery": None}, {"delivery": {"kind": 7}}, {"delivery": "x"}, "x", None]
)
async def test_a_request_without_a_readable_target_delivers_nothing(env, invocation):
    box = Box()
    async with kit(env, ports=ports(box)) as k:
        out = await raw_run(k, {"agent": 7, "invocation": invocation})
    assert out.result.reason is Reason.INVALID_REQUEST
    assert (box.tried, out.activities) == (0, END[2:])


async def test_an_unreadable_request_to_an_impossible_target_leaves_no_dead_letter(env):
    p = ports(Box())
    async with kit(env, ports=p) as k:
        raw = {"agent": 7, "invocation": {"delivery": {"kind": "pigeon"}}}
        out = await raw_run(k, raw)
    [warning] = out.result.warnings
    assert "unknown kind of delivery `pigeon`; this host has: box" in warning
    assert await p.letters.letters() == []
    assert out.activities == END[1:]


@pytest.mark.parametrize(
    ("wiring", "says", "end"),
    [
        ({"delivery": None}, "this host delivers nothing", END[1:]),
        ({"letters": None}, "(gone); not kept", KEPT[1:]),
    ],
)
async def test_an_unreadable_request_is_told_what_the_host_lacks(env, wiring, says, end):
    p = ports(Box(last=DeliveryError("gone", permanent=True)), **wiring)
    async with kit(env, ports=p) as k:
        out = await raw_run(k, UNREADABLE["misspelt"])
    assert says in out.result.warnings[0]
    assert out.activities == end


async def raw_run(k: Kit, request: object) -> Outcome:
    run_id = f"raw-{uuid.uuid4().hex[:8]}"
    await k.client.start_workflow("executus.AgentRun", request, id=run_id, task_queue=k.queue)
    return await k.outcome(run_id)


@pytest.mark.parametrize(
    ("delivery", "target", "says"),
    [
        (Deliveries({"box": Box()}), "pigeon", "unknown kind of delivery `pigeon`; this host has"),
        (Deliveries({"box": Box()}), "box", "a box needs an address"),
        (None, "box", "this host delivers nothing"),
    ],
)
async def test_a_target_that_cannot_be_is_refused_before_anything_is_paid_for(
    env, delivery, target, says
):
    async with kit(env, ports=ports(delivery=delivery)) as k:
        out = await k.run([say("never")], delivery=DeliveryTarget(kind=target))
    assert (out.result.status, out.result.reason) == (Status.ERROR, Reason.DELIVERY_REFUSED)
    assert says in out.result.error
    assert out.activities == ["executus.resolve", "executus.audit.close"]


async def test_a_run_that_went_on_as_a_new_execution_is_delivered_once(env):
    box = Box()
    defaults = Defaults(history_events=50, max_runtime=600, max_iterations=30)
    async with kit(env, tools=[add], ports=ports(box), defaults=defaults) as k:
        script = [*(call("add", a=n, b=1) for n in range(12)), say("done")]
        handle = await k.start(script, tools=("add",), delivery=BOX, max_runtime=600)
        result = await k.runs.result(handle.id)
        executions = await k.client.get_workflow_handle(handle.id).describe()
    assert result.status is Status.OK, result.error
    assert executions.run_id != executions.raw_info.first_run_id, "it was one execution only"
    assert [item.event.data.output for item in box.items] == ["done"]


# -- failures ----------------------------------------------------------------------------------

DOWN = DeliveryError("the box is shut")


async def letters_of(p: Ports) -> list:
    return await p.letters.letters()


async def test_a_receiver_that_stays_down_leaves_ok_and_a_dead_letter(env):
    box = Box(last=DOWN)
    p = ports(box)
    async with kit(env, ports=p) as k:
        out = await k.run([say("42")], delivery=BOX)
    assert (out.result.status, out.result.output) == (Status.OK, "42")
    [warning] = out.result.warnings
    assert "delivery to box somewhere did not land (the box is shut); kept" in warning
    [letter] = await letters_of(p)
    assert letter.attempts == box.tried
    assert box.tried > 3
    assert letter.item.event.data.output == "42"
    told = await entry(p, out.result.run_id, "delivery_failed")
    assert (told["id"], told["kept"], told["attempts"]) == (letter.id, True, box.tried)
    assert out.activities[-4:] == KEPT
    assert out.close == "COMPLETED"


@pytest.mark.parametrize(
    ("failure", "tried"),
    [
        (DeliveryError("gone", permanent=True, status_code=410), 1),
        (DeliveryError("later", retry_after=3_600), 1),
        (DeliveryError("soon", retry_after=25), 3),
    ],
)
async def test_what_waiting_does_not_help_is_given_up_at_once(env, failure, tried):
    box = Box(last=failure)
    p = ports(box)
    async with kit(env, ports=p) as k:
        out = await k.run([say("42")], delivery=BOX)
    [letter] = await letters_of(p)
    assert (box.tried, letter.attempts) == (tried, tried)
    assert letter.status_code == failure.status_code
    assert out.result.status is Status.OK
    assert out.activities[-4:] == KEPT


async def test_a_bug_in_a_hosts_delivery_is_tried_again_and_told_without_secrets(env):
    box = Box(ZeroDivisionError("Bearer abcdefghijklmnop1234"), last=None)
    async with kit(env, ports=ports(box)) as k:
        out = await k.run([say("42")], delivery=BOX)
        text = out.history.to_json()
    assert (out.result.delivery.attempts, out.result.warnings) == (2, ())
    assert "abcdefghijklmnop1234" not in text


class Broken(MemoryLetters):
    async def keep(self, letter) -> None:
        raise StoreError("the disk is full")


@pytest.mark.parametrize(("letters", "says"), [(None, "not kept"), (Broken(), "disk is full")])
async def test_what_cannot_be_kept_is_told(env, letters, says):
    p = ports(Box(last=DeliveryError("gone", permanent=True)), letters=letters)
    async with kit(env, ports=p, defaults=Defaults(cleanup_seconds=10)) as k:
        out = await k.run([say("42")], delivery=BOX)
    assert out.result.status is Status.OK
    assert says in " ".join(out.result.warnings)
    assert (await entry(p, out.result.run_id, "delivery_failed"))["kept"] is False


async def test_a_delivery_that_hangs_does_not_keep_the_run_from_closing(env):
    p = ports(Box())
    gate = Gate("executus.deliver")
    defaults = Defaults(delivery_seconds=2, heartbeat_seconds=2)
    async with kit(env, ports=p, interceptors=[gate], defaults=defaults) as k:
        out = await k.run([say("42")], delivery=BOX)
    assert out.result.status is Status.OK
    assert "not delivered within 2 s" in out.result.warnings[0]
    assert [letter.run_id for letter in await letters_of(p)] == [out.result.run_id]
    assert out.activities[-4:] == KEPT


@pytest.mark.parametrize("how", [stopped, cancelled], ids=["signal", "native"])
async def test_a_cancel_during_delivery_neither_loses_it_nor_changes_the_outcome(env, how):
    box = Box()
    gate = Gate("executus.deliver")
    p = ports(box)
    async with kit(env, ports=p, interceptors=[gate]) as k:
        handle = await k.start([say("42")], delivery=BOX)
        await gate.entered.wait()
        await how(k, handle.id)
        gate.open.set()
        out = await k.outcome(handle.id)
    assert (out.result.status, out.result.output) == (Status.OK, "42")
    assert [item.event.data.status for item in box.items] == [Status.OK]
    await entry(p, handle.id, "delivered")
    assert out.activities[-3:] == END


def test_the_backstop_leaves_room_for_a_delivery():
    backstop = Backstop({}, Defaults(delivery_seconds=500))
    agent = RunnableAgent(name="a")
    plain = RunRequest(agent=agent)
    invocation = plain.invocation.model_copy(update={"delivery": BOX})
    more = backstop.timeout(plain.model_copy(update={"invocation": invocation}))
    assert (more - backstop.timeout(plain)).total_seconds() == 500
