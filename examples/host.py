"""What the examples share: a server, a worker, and a model that is real when there is a key."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker

from executus import Defaults, RunnableAgent, RunResult
from executus.cli.log import to_file
from executus.cli.place import open_place
from executus.connect import connect
from executus.models.registry import Models
from executus.models.scripted import Script, Scripted
from executus.plugin import ExecutusPlugin
from executus.ports import Ports
from executus.runs import Runs
from executus.settings import load_settings
from executus.tools import Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A server with one worker on it, for as long as the program runs."""

    runs: Runs
    client: Client
    offline: bool
    """Whether a script plays the model."""


@asynccontextmanager
async def host(
    name: str,
    *,
    agents: Sequence[RunnableAgent],
    script: Mapping[str, Script],
    tools: Sequence[Tool] = (),
    ports: Ports | None = None,
    defaults: Defaults | None = None,
) -> AsyncGenerator[Host]:
    """Serve `agents` where TEMPORAL_ADDRESS says, else on a server of this folder.

    `script` says what each tier answers while neither OPENAI_API_KEY nor ANTHROPIC_API_KEY is set.
    """
    settings = load_settings()
    to_file(settings.data_dir / "examples.log")  # the terminal shows the run
    models = Models.from_environment()
    offline = not models.has_tier("fast")
    if offline:
        models = Models({tier: f"scripted/{tier}" for tier in script}, providers=[Scripted(script)])
    plugin = ExecutusPlugin(
        agents=agents, tools=tools, models=models, ports=ports, defaults=defaults
    )
    queue = f"{settings.task_queue}.example.{name}"  # another host's worker has other tools
    async with open_place(settings) as place:
        client = await connect(place.profile, plugins=[plugin])
        model = "offline: a script plays the model" if offline else models.tiers["fast"]
        print(f"{name}: Temporal at {place.profile.address}, {model}", flush=True)
        stop = timedelta(milliseconds=1)  # whoever leaves early does not wait
        async with Worker(client, task_queue=queue, graceful_shutdown_timeout=stop):
            yield Host(runs=Runs(client, queue), client=client, offline=offline)


def show(result: RunResult) -> int:
    """Print what a run did and how it ended; the exit code says whether it was ok."""
    for step in result.steps:
        phase = f"{step.phase} | " if step.phase else ""
        print(f"  {step.id:8} {step.status:9} {phase}{step.kind}: {step.summary}")
    print(f"\n{result.output}\n")
    if result.error:
        print(f"error     {result.error}")
    tokens = result.usage.input_tokens + result.usage.output_tokens
    ended = f"{result.status} ({result.reason})"
    print(f"status    {ended}, {result.steps_total} steps, {tokens:,} tokens")
    return 0 if result.status == "ok" else 1
