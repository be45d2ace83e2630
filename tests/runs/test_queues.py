"""Where and when runs are worked on: schedules, priority and fairness, a provider's own queue."""

import asyncio
from datetime import timedelta

import pytest
from temporalio import activity, exceptions
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from executus import Invocation, Reason, RunnableAgent, RunRequest, Status
from executus.backstop import Backstop
from executus.cli.app import invoke
from executus.delivery_target import DeliveryTarget
from executus.errors import UserError
from executus.limits import Defaults
from executus.models.registry import Models
from executus.models.scripted import Scripted, call, say
from executus.schedules import Schedules, Times
from executus.tools import tool
from executus.workflows.outcome import model_ending

from .kit import kit


@pytest.fixture
async def real_time(env) -> Client:
    return await Client.connect(env.client.service_client.config.target_host)


async def started(k, run_id: str):
    history = await k.client.get_workflow_handle(run_id).fetch_history()
    return history.events[0].workflow_execution_started_event_attributes


async def test_a_run_has_the_priority_of_its_invocation_and_its_callers_fairness_key(env):
    async with kit(env) as k:
        request = k.request([say("ok")])
        asked = request.invocation.model_copy(update={"priority": 2, "tenant_id": "acme"})
        result = await k.runs.run(request.model_copy(update={"invocation": asked}))
        first = await started(k, result.run_id)
        assert (first.priority.priority_key, first.priority.fairness_key) == (2, "acme")
        long = asked.model_copy(update={"tenant_id": "", "caller_id": "x" * 200, "priority": None})
        result = await k.runs.run(k.request([say("ok")]).model_copy(update={"invocation": long}))
        assert len((await started(k, result.run_id)).priority.fairness_key) <= 64


def queued(scripts: dict) -> Models:
    return Models(
        {"fast": "scripted/fast"}, providers=[Scripted(scripts)], task_queues={"scripted": "models"}
    )


async def test_model_calls_go_to_the_queue_of_their_provider(env):
    scripts = {"fast": [say("from over there")]}
    async with kit(env, models=queued(scripts)) as k:
        options = {"max_task_queue_activities_per_second": 50.0}
        async with Worker(k.client, task_queue="models", **options):
            out = await k.run(None, model_tier="fast")
        assert (out.result.status, out.result.output) == (Status.OK, "from over there")
        queues = {
            e.activity_task_scheduled_event_attributes.activity_type.name: (
                e.activity_task_scheduled_event_attributes.task_queue.name
            )
            for e in out.history.events
            if e.HasField("activity_task_scheduled_event_attributes")
        }
        assert queues["executus.model"] == "models"
        assert queues["executus.resolve"] == k.queue


@tool(effect="pure", task_queue="gpu")
async def draw() -> str:
    """Draw."""
    return f"drawn on {activity.info().task_queue}"


async def test_a_tools_calls_go_to_the_queue_of_the_workers_that_have_it(env):
    async with kit(env, tools=[draw]) as k, Worker(k.client, task_queue="gpu"):
        out = await k.run(
            lambda r: say(r.messages[-1].message.parts[0].text) if r.messages[1:] else call("draw"),
            tools=("draw",),
        )
        assert (out.result.status, out.result.output) == (Status.OK, "drawn on gpu")


async def test_a_providers_queue_keeps_its_rate(env, real_time):
    async with kit(env, models=queued({"fast": lambda _: say("ok")}), client=real_time) as k:
        async with Worker(k.client, task_queue="models", max_task_queue_activities_per_second=2):
            handles = [await k.start(None, model_tier="fast") for _ in range(8)]
            results = [await k.runs.result(handle.id) for handle in handles]
        assert {result.status for result in results} == {Status.OK}
        called = sorted(result.steps[0].ended_at for result in results)
        # Those that come at once count as a second's; the rest wait their turn.
        assert (called[-1] - called[0]).total_seconds() >= 2, called


def test_a_provider_queue_without_workers_ends_the_run_with_the_reason():
    """Not on the server: a task that waits for a worker is not skipped, so it takes a minute."""
    error = exceptions.ActivityError(
        "",
        scheduled_event_id=1,
        started_event_id=0,
        identity="",
        activity_type="executus.model",
        activity_id="1",
        retry_state=None,
    )
    error.__cause__ = exceptions.TimeoutError(
        "", type=exceptions.TimeoutType.SCHEDULE_TO_START, last_heartbeat_details=[]
    )
    ending = model_ending(error, 100.0)
    assert ending.reason is Reason.MODEL_UNAVAILABLE
    assert "no worker of the provider's task queue" in str(ending)


async def test_a_schedule_starts_runs_that_are_bounded_as_any_other(env, real_time):
    async with kit(env, client=real_time) as k:
        k.scripts["daily"] = lambda _: say("good morning")
        agent = RunnableAgent(name="daily", model_tier="scripted/daily", max_runtime=100)
        request = RunRequest(agent=agent, invocation=Invocation(prompt="report", tenant_id="acme"))
        schedules = Schedules(k.client, k.queue, Backstop({}, Defaults()))
        name = f"daily-{k.queue}"
        await schedules.add(name, request, Times(cron=["0 9 * * 1"]), note="weekly")
        try:
            with pytest.raises(UserError, match="is there already"):
                await schedules.add(name, request, Times(every=timedelta(hours=1)))
            await schedules.trigger(name)
            while not (item := await listed(schedules, name)).last_run_id:
                await asyncio.sleep(0.05)
            assert item.next_at is not None
            assert item.next_at.isoweekday() == 1
            result = await k.runs.result(item.last_run_id)
            assert (result.status, result.output) == (Status.OK, "good morning")
            assert item.last_run_id.startswith(name)
            first = await started(k, item.last_run_id)
            assert first.workflow_execution_timeout.ToTimedelta() > timedelta(seconds=100)
            assert first.priority.fairness_key == "acme"
            await schedules.pause(name, "holidays")
            while not (item := await listed(schedules, name)).paused:
                await asyncio.sleep(0.05)
            assert item.note == "holidays"
        finally:
            await schedules.remove(name)
        with pytest.raises(UserError, match="no schedule"):
            await schedules.trigger(name)


async def listed(schedules: Schedules, name: str):
    while True:
        found = [item for item in await schedules.list() if item.name == name]
        if found:
            return found[0]
        await asyncio.sleep(0.05)


async def test_a_bad_time_is_refused_when_the_schedule_is_made(env, real_time):
    request = RunRequest(agent="x", invocation=Invocation(prompt="p"))
    config = real_time.config()
    config["data_converter"] = pydantic_data_converter
    schedules = Schedules(Client(**config), "q", Backstop({}, Defaults()))
    with pytest.raises(UserError, match="schedule bad"):
        await schedules.add("bad", request, Times(cron=["every monday"]))
    with pytest.raises(UserError, match="one of both"):
        await schedules.add("bad", request, Times())
    with pytest.raises(UserError, match="schedule bad"):
        await schedules.add("bad", request, Times(cron=["0 9 * * *"], zone="Mars/Olympus"))
    with pytest.raises(UserError, match="a second or more"):
        await schedules.add("bad", request, Times(every=timedelta(0)))
    with pytest.raises(UserError, match="would never start a run"):
        await schedules.add("bad", request, Times(cron=["0 0 31 2 *"]))
    for name in ("", "x" * 201, "a\nb"):
        with pytest.raises(UserError, match="a name has 1 to 200 characters"):
            await schedules.add(name, request, Times(every=timedelta(hours=1)))
    silent = RunRequest(agent="x", invocation=Invocation(prompt=" "))
    with pytest.raises(UserError, match="nothing is asked"):
        await schedules.add("bad", silent, Times(every=timedelta(hours=1)))
    with pytest.raises(UserError, match="no schedule"):
        await schedules.trigger("bad")
    # The list lags behind: it may still tell what was made, seen never to come, and removed.
    while "bad" in [item.name for item in await schedules.list()]:
        await asyncio.sleep(0.05)
    assert "bad" not in [item.name for item in await schedules.list()]


async def test_the_command_line_adds_lists_and_removes_schedules(env, monkeypatch, capsys):
    monkeypatch.setenv("TEMPORAL_ADDRESS", env.client.service_client.config.target_host)

    async def command(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(invoke, ["schedule", *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    code, said = await command("add", "n", "sum up", "--every", "1d", "--caller", "")
    assert (code, "'--caller': it is empty" in said) == (2, True), said
    more = ("--deliver", "file:sums.jsonl", "--priority", "2")
    assert (await command("add", "nightly", "sum up", "--every", "1d", "--paused", *more))[0] == 0
    handle = env.client.get_schedule_handle("executus.run.nightly")
    (raw,) = (await handle.describe()).schedule.action.args
    asked = RunRequest.model_validate_json(raw.data).invocation
    assert asked.delivery == DeliveryTarget(kind="file", address="sums.jsonl")
    assert (asked.priority, asked.channel_id) == (2, "schedule:nightly")
    while "nightly  paused" not in (said := (await command("list"))[1]):
        await asyncio.sleep(0.05)
    assert await command("resume", "nightly") == (0, "schedule nightly resumed\n")
    assert await command("trigger", "nightly") == (
        0,
        "schedule nightly starts a run now; `executus schedule list` tells its id\n",
    )
    assert await command("pause", "nightly") == (0, "schedule nightly paused\n")
    while "last run nightly-" not in (said := (await command("list"))[1]) or "next" in said:
        await asyncio.sleep(0.05)
    assert "(goes on)" in said
    await env.client.get_workflow_handle(said.split("last run ")[1].split()[0]).terminate()
    assert "(terminated)" in (await command("list"))[1]
    assert "nightly  paused  last run" in said
    assert not said.rstrip().endswith("paused"), "what a person did not say is no note"
    assert (await command("pause", "nightly", "--note", "later"))[0] == 0
    while "later" not in (said := (await command("list"))[1]):
        await asyncio.sleep(0.05)
    assert await command("remove", "nightly") == (0, "schedule nightly removed\n"), said
    assert await command("trigger", "nightly") == (
        2,
        "executus: no schedule nightly; `executus schedule list` shows them\n",
    )


async def test_what_the_app_would_refuse_makes_no_schedule(env, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("TEMPORAL_ADDRESS", env.client.service_client.config.target_host)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "their_host.py").write_text(
        "from executus import RunnableAgent\n"
        "from executus.ports import Ports\n"
        "from executus.delivery import Deliveries, Stdout\n"
        "from executus.models.registry import Models\n"
        "from executus.models.scripted import Scripted\n"
        "from executus.plugin import ExecutusPlugin\n"
        "def plugin():\n"
        "    return ExecutusPlugin(\n"
        "        agents=[RunnableAgent(name='editor')],\n"
        "        models=Models({'fast': 'scripted/fast'}, providers=[Scripted({})]),\n"
        "        ports=Ports(delivery=Deliveries({'stdout': Stdout()})),\n"
        "    )\n"
    )

    async def add(name: str, *arguments: str) -> tuple[int, str]:
        line = ["schedule", "add", name, "hi", "--every", "1d", "--paused", *arguments]
        code = await asyncio.to_thread(invoke, line)
        said = capsys.readouterr()
        return code, said.out + said.err

    app = ("--app", "their_host:plugin", "--agent")
    code, said = await add("rehearsed", *app, "editor", "--deliver", "webhook:ops")
    assert code == 2
    assert "would refuse each run: delivery: unknown kind of delivery" in said
    code, said = await add("rehearsed", *app, "nobody", "--deliver", "stdout")
    assert (code, "would refuse each run: unknown agent `nobody`" in said) == (2, True), said
    code, said = await add("rehearsed", *app, "editor", "--deliver", "stdout")
    assert (code, said) == (0, "schedule rehearsed created on task queue executus\n")
    code, said = await add("unknown", "--agent", "editor", "--deliver", "webhook:ops")
    assert (code, "warning   not known here" in said, "`ops`" in said) == (0, True, True), said


async def test_a_list_of_schedules_tells_why_the_last_run_was_refused(
    env, real_time, monkeypatch, capsys
):
    monkeypatch.setenv("TEMPORAL_ADDRESS", env.client.service_client.config.target_host)
    async with kit(env, client=real_time) as k:
        schedules = Schedules(k.client, k.queue, Backstop({}, Defaults()))
        target = DeliveryTarget(kind="webhook", address="ops")
        request = k.request([say("hi")], delivery=target)
        name = f"refused-{k.queue}"
        await schedules.add(name, request, Times(every=timedelta(days=1)))
        await schedules.trigger(name)
        said = ""
        while f"{name}  next" not in said or "delivery_refused" not in said:
            assert await asyncio.to_thread(invoke, ["schedule", "list"]) == 0
            said = capsys.readouterr().out
        await schedules.remove(name)
    [line] = [line for line in said.splitlines() if line.startswith(name)]
    assert line.endswith(
        "(error/delivery_refused: delivery: this host delivers nothing: wire Ports(delivery=...), "
        "or leave the delivery out)"
    )
