"""Test your agents: a Temporal server whose clock skips hours, a worker, a model that you write.

    from executus.models.scripted import call, say
    from executus.testing import AgentEnvironment, scripted

    async def test_the_editor_counts():
        models = scripted([call("word_count", text="a b c"), say("Three.")])
        plugin = ExecutusPlugin(agents=[EDITOR], tools=[word_count], models=models)
        async with AgentEnvironment.start(plugin) as env:
            done = await env.run("editor", "How long is 'a b c'?")
        assert done.result.output == "Three."
        assert "tool.word_count" in done.activities

A deadline, a backoff or a person who never answers takes milliseconds. Every run is replayed after
its end, so that what does not replay fails a test and not a deployment.
"""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client, WorkflowHistory
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from executus.agent import RunnableAgent
from executus.errors import MissingExtra
from executus.invocation import Invocation
from executus.models.registry import Models
from executus.models.scripted import Script, Scripted
from executus.plugin import ExecutusPlugin
from executus.request import RunRequest
from executus.result import RunResult
from executus.runs import Runs
from executus.server_program import DYNAMIC_ARGUMENTS, find_program

TIERS = ("fast", "thinking")
"""They follow the script that has no name."""


def scripted(script: Script = (), /, **tiers: Script) -> Models:
    """Models that say what you wrote: to every agent, or by `model_tier`.

    `scripted([say("hi")])`, `scripted(fast=[...], thinking=[...])`. A run whose script is over ends
    in an error that says so.
    """
    scripts: dict[str, Script] = {**dict.fromkeys(TIERS, script), **tiers}
    return Models({name: f"scripted/{name}" for name in scripts}, providers=[Scripted(scripts)])


@asynccontextmanager
async def time_skipping_server() -> AsyncGenerator[WorkflowEnvironment]:
    """Temporal's development server; each run on it has a clock of its own, which skips waits.

    It takes a second to start: share it between tests by a fixture of the session.

    Raises:
        MissingExtra: there is no `temporal` command.
    """
    program = find_program()
    if program is None:
        raise MissingExtra("server", "a test server")
    async with await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=str(program),
        dev_server_extra_args=[*DYNAMIC_ARGUMENTS, "--log-level", "error"],
    ) as environment:
        yield environment


def activities(history: WorkflowHistory) -> list[str]:
    """Types of a history's activities in the order in which they were scheduled."""
    return [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]


async def executions(client: Client, run_id: str) -> tuple[WorkflowHistory, ...]:
    """Histories of all executions of a run, oldest first: one, unless the run was long."""
    found = list[WorkflowHistory]()
    execution: str | None = None
    while execution is None or execution:
        handle = client.get_workflow_handle(run_id, run_id=execution)
        found.insert(0, await handle.fetch_history())
        began = found[0].events[0].workflow_execution_started_event_attributes
        execution = began.continued_execution_run_id
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that ended, and was replayed."""

    result: RunResult
    """As `Runs.result` has it, whatever the ending."""
    histories: tuple[WorkflowHistory, ...]
    """See `executions`."""

    @property
    def activities(self) -> list[str]:
        """Types of its activities in the order in which they were scheduled; local ones are not."""
        return [name for history in self.histories for name in activities(history)]


class AgentEnvironment:
    """A worker of a plugin, on a queue of its own."""

    def __init__(self, client: Client, plugin: ExecutusPlugin, task_queue: str) -> None:
        """Use `start`."""
        self.client = client
        """Has the plugin."""
        self.task_queue = task_queue
        """Where the worker is."""
        self.runs = Runs(client, task_queue)
        """To start, steer, cancel and answer; `finished` takes such a run up."""
        self._plugin = plugin

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        plugin: ExecutusPlugin,
        *,
        server: WorkflowEnvironment | None = None,
        **worker_options: Any,  # noqa: ANN401 - the SDK's own
    ) -> AsyncGenerator["AgentEnvironment"]:
        """Serve the plugin's agents and tools.

        Args:
            plugin: As in production, with `models=scripted(...)`.
            server: One that is shared; None = one for this environment.
            worker_options: For `temporalio.worker.Worker`; `max_cached_workflows=0` makes every
                task a replay.

        Raises:
            MissingExtra: there is no `temporal` command.
            ConfigError: the plugin's parts do not fit.
        """
        if server is None:
            async with (
                time_skipping_server() as own,
                cls.start(plugin, server=own, **worker_options) as made,
            ):
                yield made
            return
        config = server.client.config()
        config["plugins"] = [*config.get("plugins", []), plugin]
        client = Client(**config)
        queue = f"test-{uuid.uuid4()}"
        async with Worker(client, task_queue=queue, **worker_options):
            yield cls(client, plugin, queue)

    async def run(self, agent: RunnableAgent | str, prompt: str, **invocation: Any) -> Finished:  # noqa: ANN401
        """Run an agent to its end; `invocation`: fields of `Invocation`."""
        asked = Invocation(prompt=prompt, **invocation)
        handle = await self.runs.start(RunRequest(agent=agent, invocation=asked))
        return await self.finished(handle.id)

    async def finished(self, run_id: str) -> Finished:
        """Wait for the end of a run, and replay it.

        Raises:
            temporalio.workflow.NondeterminismError: it does not replay.
        """
        result = await self.runs.result(run_id)
        histories = await executions(self.client, run_id)
        replayer = Replayer(
            workflows=[], plugins=[self._plugin], data_converter=self.client.data_converter
        )
        for history in histories:
            await replayer.replay_workflow(history)
        return Finished(result, histories)
