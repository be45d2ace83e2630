"""What a cached run keeps: neither what it was started with nor its live page."""

import asyncio
import gc
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.bridge.proto.workflow_activation import InitializeWorkflow, WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.client import OutboundInterceptor, StartWorkflowInput
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    UnsandboxedWorkflowRunner,
    WorkerConfig,
    WorkflowInboundInterceptor,
)

from executus import Status, garbage
from executus import plugin as module
from executus.instances import LeanRunner
from executus.limits import Defaults
from executus.models.openai_responses import OpenAIResponses
from executus.models.registry import Models
from executus.models.scripted import Scripted, call, say
from executus.plugin import ExecutusPlugin
from executus.state import LiveState
from executus.tools import tool
from executus.workflows import details
from executus.workflows import run as run_module
from executus.workflows.clock import Clock

from .kit import kit
from .test_long_runs import chain

HEARD: list[dict[str, bytes]] = []
KEPT: dict[str, list[Any]] = {}
"""Execution -> messages, or parts of them, that started its run and are still there."""


@tool(effect="pure")
async def look(page: int) -> str:
    """Look at a page."""
    return f"page {page}"


def looks(count: int) -> list[Any]:
    return [*(call("look", page=n) for n in range(count)), say("done")]


WAITING: set[str] = set()
"""Runs whose tool runs."""
RUNS = 3


@tool(effect="pure", timeout=60)
async def wait_and_weigh(page: int) -> str:
    """Wait for all runs, and until little is there of the tasks that scheduled their tools."""
    WAITING.add(activity.info().workflow_run_id)
    while not KEPT.get("over"):
        gc.collect()
        there = gc.get_objects()
        acts = [o for o in there if type(o) is WorkflowActivation and o.run_id in WAITING]
        completions = [o for o in there if type(o) is WorkflowActivationCompletion]
        KEPT["jobs"] = [str(job) for act in acts for job in act.jobs]
        KEPT["commands"] = [str(c) for done in completions for c in done.successful.commands]
        del there, acts, completions
        # The worker itself holds the one that it polled last.
        if len(WAITING) == RUNS and len(KEPT["jobs"]) <= 1 and not KEPT["commands"]:
            KEPT["over"] = [True]
        await asyncio.sleep(0.05)  # it is with them for a while after the server has their outcome
    return f"page {page}"


@tool(effect="pure")
async def weigh(page: int) -> str:
    """Note what of the message that started this execution is still there."""
    gc.collect()
    info, there = activity.info(), gc.get_objects()
    started = [o for o in there if type(o) is InitializeWorkflow]
    arguments = [o for o in there if type(o) is Payload and b"weigh yourself" in o.data]
    KEPT[info.workflow_run_id] = [
        *(message for message in started if message.workflow_id == info.workflow_id),
        *arguments,
    ]
    return f"page {page}"


async def test_a_run_does_not_keep_the_message_that_started_it_nor_what_is_handed_to_it(env):
    KEPT.clear()
    defaults = Defaults(history_events=50, max_iterations=20)
    script = [*(call("weigh", page=n) for n in range(8)), say("done")]
    async with kit(env, tools=[weigh], defaults=defaults) as k:
        outcome = await k.run(script, tools=("weigh",), prompt="weigh yourself")
        executions = await chain(k, outcome.result.run_id)
    assert outcome.result.status is Status.OK
    assert len(executions) > 1
    assert {run_id: [] for run_id in KEPT} == KEPT
    assert len(KEPT) == len(executions)


async def test_waiting_runs_keep_neither_their_newest_activation_nor_their_commands(env):
    KEPT.clear()
    WAITING.clear()
    script = [call("wait_and_weigh", page=1), say("done")]
    async with kit(env, tools=[wait_and_weigh]) as k:
        runs = [k.run(script, tools=("wait_and_weigh",)) for _ in range(RUNS)]
        outcomes = await asyncio.gather(*runs)
    assert KEPT.get("over"), KEPT
    for outcome in outcomes:
        assert [step.status for step in outcome.result.steps] == ["complete"] * 3


class Named(ClientInterceptor):
    """Sends a header with every start, as tracing does."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        class Outbound(OutboundInterceptor):
            async def start_workflow(self, input: StartWorkflowInput) -> Any:
                input.headers = {**input.headers, "who": Payload(data=b"ann")}
                return await super().start_workflow(input)

        return Outbound(next)


class Listener(ClientInterceptor, Interceptor):
    """Reads the headers, as tracing does: an interceptor of clients and of their workers."""

    def workflow_interceptor_class(self, input: Any) -> type[WorkflowInboundInterceptor]:
        return _Ear


class _Ear(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        HEARD.append({name: payload.data for name, payload in input.headers.items()})
        return await super().execute_workflow(input)


@pytest.mark.parametrize("order", ["outside", "inside"])
async def test_interceptors_of_the_host_still_see_headers(env, order):
    HEARD.clear()
    config = env.client.config()
    config["interceptors"] = [*config["interceptors"], Named()]
    if order == "outside":  # before the plugin's, which the worker adds to the client's
        config["interceptors"] = [*config["interceptors"], Listener()]
    client = type(env.client)(**config)
    options = {} if order == "outside" else {"interceptors": [Listener()]}
    async with kit(env, client=client, **options) as k:
        outcome = await k.run([say("done")])
    assert outcome.result.status is Status.OK
    assert HEARD
    assert all(heard == {"who": b"ann"} for heard in HEARD)


class OwnRunner(UnsandboxedWorkflowRunner):
    """A host's."""


def test_a_hosts_own_runner_stays():
    plugin = ExecutusPlugin(models=Models({}, providers=[Scripted({})]))
    own = OwnRunner()

    def configured(runner: UnsandboxedWorkflowRunner) -> object:
        config = WorkerConfig(unsandboxed_workflow_runner=runner, client=_NoClient())
        return plugin.configure_worker(config)["unsandboxed_workflow_runner"]

    assert configured(own) is own
    assert isinstance(configured(UnsandboxedWorkflowRunner()), LeanRunner)


class _NoClient:
    def config(self, **_: object) -> dict[str, object]:
        return {}


async def test_the_live_page_is_made_for_those_who_look(env, monkeypatch):
    pages: list[str] = []

    def render(state: LiveState) -> str:
        pages.append(details.render(state))
        return pages[-1]

    monkeypatch.setattr(run_module, "render", render)
    async with kit(env, tools=[look]) as k:
        outcome = await k.run(looks(5), tools=("look",))
        assert not pages
        handle = env.client.get_workflow_handle(outcome.result.run_id)
        told = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        assert await k.runs.state(handle.id), "other queries make none"
    assert pages == [told.current_details]
    assert "closed · **ok**" in pages[0]
    assert "`m6` model" in pages[0]
    assert "state" in {query.name for query in told.definition.query_definitions}


@workflow.defn(sandboxed=False)
class Plain:
    """A host's own workflow beside the runs."""

    @workflow.run
    async def run(self) -> None:
        workflow.set_current_details("its own page")


async def test_a_hosts_own_workflow_keeps_its_page(env):
    async with kit(env, workflows=[Plain]) as k:
        name = f"plain-{k.queue}"
        handle = await env.client.start_workflow(Plain.run, id=name, task_queue=k.queue)
        await handle.result()
        told = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert told.current_details == "its own page"


@workflow.defn(sandboxed=False)
class Telling:
    """Tells the time in both ways."""

    @workflow.run
    async def run(self) -> list[bool]:
        told = []
        for _ in range(3):
            told.append(Clock.now() == workflow.now())
            await workflow.sleep(1.25)
        return told


async def test_the_clock_tells_workflow_time(env):
    async with kit(env, workflows=[Telling]) as k:
        name = f"telling-{k.queue}"
        handle = await env.client.start_workflow(Telling.run, id=name, task_queue=k.queue)
        assert await handle.result() == [True] * 3


async def test_a_worker_leaves_what_was_imported_out_of_later_collections(env, monkeypatch):
    told: list[bool] = []  # the session has done it already: see that the worker would, too

    def keep_loaded() -> None:
        told.append("openai" in sys.modules)
        garbage.keep_loaded()

    monkeypatch.setattr(module, "garbage", SimpleNamespace(**vars(garbage)))
    monkeypatch.setattr(module.garbage, "keep_loaded", keep_loaded)
    models = Models({}, providers=[Scripted({}), OpenAIResponses(api_key="none")])
    async with kit(env, models=models):
        pass
    assert told == [True], "once, and after what is slow to import is there"
    assert gc.get_freeze_count() > 10_000
    assert gc.isenabled()
