"""A worker on the real server, and the three beats of every workflow test."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.worker import Replayer, Worker

from executus import Defaults, Invocation, Limits, RunnableAgent, RunRequest
from executus.mcp import McpServer
from executus.models.registry import Models
from executus.models.scripted import Scripted
from executus.packs import Packs
from executus.plugin import ExecutusPlugin
from executus.ports import Critic, Files, Ports
from executus.result import RunResult
from executus.runs import Runs
from executus.stores.memory import MemoryAudit, MemoryBudget
from executus.testing import activities
from executus.tools import Tool

HISTORIES: list[WorkflowHistory] = []
"""Every history that the tests made; replayed once more at the end, by today's code."""


class Kit:
    """A client with the plugin, a worker, memory ports; scripts and tools of the test."""

    def __init__(self, client: Client, plugin: ExecutusPlugin, queue: str, scripts, audit, budget):
        self.client = client
        self.plugin = plugin
        self.queue = queue
        self.scripts = scripts
        self.audit: MemoryAudit = audit
        self.budget: MemoryBudget = budget
        self.runs = Runs(client, queue)

    def request(self, script: Any = None, **fields: Any) -> RunRequest:
        """A request for an agent that follows `script`."""
        name = f"s-{uuid.uuid4().hex[:8]}"
        if script is not None:
            self.scripts[name] = script
        invocation = Invocation(
            prompt=fields.pop("prompt", "do it"),
            run_id=fields.pop("run_id", None),
            caller_id=fields.pop("caller_id", "ann"),
            delivery=fields.pop("delivery", None),
        )
        limits = Limits(**fields.pop("limits", {}))
        fields.setdefault("model_tier", f"scripted/{name}")
        return RunRequest(
            agent=RunnableAgent(name="tester", limits=limits, **fields), invocation=invocation
        )

    async def start(self, script: Any, **fields: Any) -> WorkflowHandle[Any, RunResult]:
        return await self.runs.start(self.request(script, **fields))

    async def run(self, script: Any, **fields: Any) -> "Outcome":
        handle = await self.start(script, **fields)
        return await self.outcome(handle.id)

    async def outcome(self, run_id: str) -> "Outcome":
        result = await self.runs.result(run_id)
        history = await self.client.get_workflow_handle(run_id).fetch_history()
        await self.replay(history)
        return Outcome(result, history)

    async def replay(self, history: WorkflowHistory) -> None:
        HISTORIES.append(history)
        converter = self.client.data_converter
        await Replayer(
            workflows=[], plugins=[self.plugin], data_converter=converter
        ).replay_workflow(history)


class Outcome:
    """What a finished run left behind."""

    def __init__(self, result: RunResult, history: WorkflowHistory) -> None:
        self.result = result
        self.history = history

    @property
    def activities(self) -> list[str]:
        """Activity types in the order they were scheduled."""
        return activities(self.history)

    @property
    def close(self) -> str:
        """How the workflow closed: COMPLETED, FAILED, CANCELED ..."""
        return event_name(self.history.events[-1]).removeprefix("WORKFLOW_EXECUTION_")


def event_name(event: Any) -> str:
    from temporalio.api.enums.v1 import EventType

    return EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")


@asynccontextmanager
async def kit(
    env: Any,
    *,
    tools: Sequence[Tool] = (),
    agents: Sequence[RunnableAgent] = (),
    mcp: Sequence[McpServer] = (),
    defaults: Defaults | None = None,
    ports: Ports | None = None,
    models: Models | None = None,
    packs: Packs | None = None,
    client: Client | None = None,
    files: Files | None = None,
    critic: Critic | None = None,
    header: str = "",
    **options: Any,
) -> AsyncIterator[Kit]:
    """A worker with memory ports, unless others are given."""
    scripts: dict[str, Any] = {}
    audit, budget = MemoryAudit(), MemoryBudget(unlimited_by_default=True)
    plugin = ExecutusPlugin(
        tools=tools,
        agents=agents,
        packs=packs,
        mcp=mcp,
        defaults=defaults or Defaults(),
        ports=ports or Ports(audit=audit, budget=budget, files=files, critic=critic),
        system_header=header,
        models=models or Models({"fast": "scripted/fast"}, providers=[Scripted(scripts)]),
    )
    base = client or env.client
    config = base.config()
    config["plugins"] = [*config.get("plugins", []), plugin]
    own = Client(**config)
    queue = f"q-{uuid.uuid4().hex[:8]}"
    worker_options = {"max_cached_workflows": env.max_cached_workflows, **options}
    async with Worker(own, task_queue=queue, **worker_options):
        yield Kit(own, plugin, queue, scripts, audit, budget)


async def assert_closed_once(kit: Kit, outcome: Outcome, *, reserved: bool = True) -> None:
    """Audit closed once with the truth, every step in it, budget settled once, chain intact."""
    result = outcome.result
    run = await kit.audit.run(result.run_id)
    assert run is not None, "no audit record"
    assert run.n_close == 1
    assert (run.status, run.reason) == (result.status, result.reason)
    assert result.audit_head == run.closed_head
    assert (await kit.audit.verify(result.run_id)).ok
    keys = {key.partition("#")[0] for key in await kit.audit.keys(result.run_id)}
    assert {step.id for step in result.steps} <= keys, "a step is missing in the audit"
    hold = kit.budget._holds.get(result.run_id)
    assert (hold.n_settle if hold else 0) == (1 if reserved else 0)
    if hold is not None:
        recorded = {step_id for _, _, step_id, _ in hold.attempts}
        own = [step for step in result.steps if not step.child_run_id]  # a child has its own hold
        paid = {step.id for step in own if step.usage and step.usage.model_calls}
        assert paid <= recorded, "a call was paid for that the ledger never saw"
        assert hold.share.tokens >= sum(step.usage.total_tokens for step in own if step.usage)
    assert not any(step.status == "running" for step in result.steps)
