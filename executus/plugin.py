"""ExecutusPlugin: the only wiring. Register it on the client; workers made from it inherit it.

client = await Client.connect("localhost:7233", plugins=[ExecutusPlugin(tools=[...])])
async with Worker(client, task_queue="executus"):
    ...
"""

import asyncio
import dataclasses
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from temporalio.client import ClientConfig
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
)
from temporalio.plugin import SimplePlugin
from temporalio.worker import (
    ReplayerConfig,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerConfig,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from executus import garbage, json_schema
from executus.activities.every import every_activity
from executus.activities.host import Host
from executus.agent import RunnableAgent
from executus.agents import Catalogue, load_catalogue
from executus.backstop import Backstop
from executus.converter import SharedConverter
from executus.errors import ConfigError, ExecutusError, MissingExtra, SchemaError, StoreError
from executus.instances import LeanCalls, LeanRunner
from executus.limits import Defaults
from executus.mcp import McpServer
from executus.mcp.source import McpSource
from executus.models.registry import Models
from executus.packs import Packs
from executus.ports import Ports, Ready
from executus.question import ApprovalRule
from executus.redact import Redactor
from executus.sanitize import clean_line
from executus.sweeper import SweepActivities
from executus.sweeper_workflow import SweepRun
from executus.tools import Registry, Tool
from executus.tools.context import Secrets
from executus.tools.read_more import FILE_TOOLS
from executus.workflows.agent_run import AgentRun

logger = logging.getLogger("executus.plugin")
PLUGIN_NAME = "executus.ExecutusPlugin"
BUILD_ID = "executus"
"""Without one, a worker hashes every loaded module at start: 2-6 s (temporal-sdk.md section 7)."""
HEARTBEAT_THROTTLE = timedelta(seconds=1)
"""How late a cancel may reach a running step; the SDK's own 60 s would make it 12 s."""
GRACE = timedelta(seconds=25)
"""For running steps when a worker stops; the SDK's own 0 cuts them off at once."""
STICKY = timedelta(seconds=4)
"""How long a run waits for a dead worker's cache; the SDK's own is 10 s."""
CACHED_WORKFLOWS = 200
"""Runs kept in memory; the SDK's own 1,000 takes gigabytes once transcripts grow."""
WORKFLOWS = (AgentRun, SweepRun)
"""What every worker of a host serves."""
WORKER_DEFAULTS: tuple[tuple[str, object, object], ...] = (
    ("max_heartbeat_throttle_interval", timedelta(seconds=60), HEARTBEAT_THROTTLE),
    ("sticky_queue_schedule_to_start_timeout", timedelta(seconds=10), STICKY),
    ("max_cached_workflows", 1_000, CACHED_WORKFLOWS),
)
"""Option, the SDK's own default, ours: set only where the host left the SDK's."""


class ExecutusPlugin(SimplePlugin):
    """Brings agent runs to a Temporal client and its workers.

    Every argument is optional: with none, runs are bounded, in memory, and use the models whose
    keys stand in the environment. Adding it to both client and worker does no harm.
    """

    def __init__(
        self,
        *,
        agents: Sequence[RunnableAgent] = (),
        agent_folders: Sequence[str | Path] = (),
        packs: Packs | None = None,
        tools: Sequence[Tool] = (),
        mcp: Sequence[McpServer] = (),
        models: Models | None = None,
        ports: Ports | None = None,
        defaults: Defaults | None = None,
        system_header: str = "",
        secrets: Collection[str] = (),
        redactor: Redactor | None = None,
        approvals: Sequence[ApprovalRule] = (),
    ) -> None:
        """Compose a host.

        Args:
            agents: Agents that may be started by name.
            agent_folders: Folders of agent files, read now; likewise. A broken file is a problem
                in `catalogue`, and refuses a worker.
            packs: Skill packs that agents may name; None = none. See `executus.packs.load_packs`.
            tools: Tools that this worker runs.
            mcp: MCP servers whose tools agents may name.
            models: Providers and tiers; None = from the environment.
            ports: Audit, budget, files, delivery and its dead letters; None = none of them.
            defaults: What holds where an agent says nothing.
            system_header: Text above every agent's own system prompt.
            secrets: Names of environment variables that tools may ask for.
            redactor: Hides secrets in summaries.
            approvals: Tool calls of any agent that need a person's yes.

        Raises:
            ConfigError: two agents, tools or servers have the same name; a tool is none.
            MissingExtra: there are servers, and the extra `mcp` is not installed.
        """
        names = [agent.name for agent in agents]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"agents registered twice: {', '.join(twice)}")
        _check_tools(tools)
        source = McpSource(mcp)
        _check_mcp(source, tools)
        self.catalogue = Catalogue()
        """Every agent of this host with its source, the broken ones with their problem."""
        self._checked = False
        self._code = tuple(agents)
        self._folders: tuple[str | Path, ...] = ()
        self._agents: dict[str, RunnableAgent] = {}
        self.add_agent_folders(agent_folders)
        ports = ports or Ports()
        own = FILE_TOOLS if ports.files is not None else ()
        self.host = Host(
            models=models if models is not None else Models.from_environment(),
            tools=Registry([*tools, *own]),
            mcp=source,
            agents=self._agents,
            packs=packs or Packs(),
            ports=ports,
            defaults=defaults or Defaults(),
            system_header=system_header,
            secrets=Secrets(secrets, os.environ, source.variables, source.written),
            redactor=redactor or Redactor(),
            approvals=tuple(approvals),
        )
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - takes bare Callables
            PLUGIN_NAME,
            data_converter=_converter,
            interceptors=[Backstop(self.host.agents, self.host.defaults), LeanCalls()],
            workflow_runner=_runner,
            workflow_failure_exception_types=[ExecutusError],
            run_context=source.serving,
        )

    def add_agent_folders(self, folders: Sequence[str | Path]) -> None:
        """Serve the agents of `folders` too. For the time before a worker is made of this."""
        self._folders = (*self._folders, *folders)
        self.catalogue = load_catalogue(self._folders, self._code)
        self._agents.clear()
        self._agents.update(self.catalogue.agents)

    def add_packs(self, packs: Packs) -> None:
        """Have these skill packs too. For the time before a worker is made of this.

        Raises:
            ConfigError: two of one name have other contents.
        """
        self.host = dataclasses.replace(self.host, packs=self.host.packs.joined(packs))

    def check(self) -> None:
        """Refuse a host that is not whole; making a worker does it too.

        Raises:
            ConfigError: an agent file is broken, or a pinned pack is gone; every problem is told.
        """
        if problems := (*self.catalogue.problems, *self.host.packs.problems):
            lines = "\n  ".join(problems)
            raise ConfigError(f"this host is not whole, so no worker starts:\n  {lines}")

    async def check_stores(self) -> tuple[str, ...]:
        """Refuse a store without its schema; a worker does it before its first task.

        One that does not answer now, or raises anything else, is a warning, logged and answered:
        runs are refused or wait until it does. Ports are asked at once, each waits for its
        database; asked again, a host that has passed says nothing.

        Raises:
            SchemaError: a database lacks tables; names them and the command.
        """
        if self._checked:
            return ()
        ports = self.host.ports
        named = [(f.name, getattr(ports, f.name)) for f in dataclasses.fields(ports)]
        asked = [_problem(name, port) for name, port in named if isinstance(port, Ready)]
        problems = await asyncio.gather(*asked)
        for problem in problems:
            if isinstance(problem, SchemaError):
                raise problem
        warnings = tuple(dict.fromkeys(p for p in problems if isinstance(p, str)))
        for warning in warnings:
            logger.warning("executus: %s", warning)
        self._checked = True
        return warnings

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """See base class; twice is once."""
        if any(isinstance(i, Backstop) for i in config.get("interceptors") or ()):
            return config
        return super().configure_client(config)

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """See base class; fills what the host left at the SDK's default. Twice is once.

        Raises:
            ConfigError: see `check`.
        """
        self.check()
        # A TypedDict of bare Callables: seen as a plain mapping, or every access is "unknown".
        options = cast("dict[str, Any]", config)
        if AgentRun in (options.get("workflows") or ()):
            return config
        options = cast("dict[str, Any]", super().configure_worker(config))
        own = [*every_activity(self.host), SweepActivities(self.host.ports).sweep]
        options["workflows"] = [*(options.get("workflows") or ()), *WORKFLOWS]
        options["activities"] = [*(options.get("activities") or ()), *own]
        if options.get("deployment_config") is None and options.get("build_id") is None:
            options["build_id"] = BUILD_ID
        if not options.get("graceful_shutdown_timeout"):
            options["graceful_shutdown_timeout"] = GRACE
        for name, sdk_default, ours in WORKER_DEFAULTS:
            if options.get(name) == sdk_default:
                options[name] = ours
        _use_lean_runner(options)
        return cast("WorkerConfig", options)

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:  # noqa: A002 - the SDK's name
        """See base class; what is slow to import is there before the first task.

        Raises:
            SchemaError: see `check_stores`.
        """
        try:
            await self.check_stores()
            with garbage.loading():
                await asyncio.to_thread(self._load)
            garbage.keep_loaded()
        except Exception:
            # `async with Worker(...)` waits for the end of its worker: one that never ran has none.
            ending = asyncio.create_task(worker.shutdown())
            await asyncio.sleep(0)
            await super().run_worker(worker, next)
            await ending
            raise
        await super().run_worker(worker, next)

    def _load(self) -> None:
        """Import what is slow to import."""
        self.host.models.load()
        self.host.mcp.load()
        json_schema.load()

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """See base class."""
        json_schema.load()
        garbage.keep_loaded()
        config = super().configure_replayer(config)
        if AgentRun not in (config.get("workflows") or ()):
            config["workflows"] = [*(config.get("workflows") or ()), *WORKFLOWS]
        if config.get("build_id") is None:
            config["build_id"] = BUILD_ID
        _use_lean_runner(cast("dict[str, Any]", config))
        return config


async def _problem(name: str, port: Ready) -> SchemaError | str | None:
    """What is wrong with a port: what cannot be waited for, or what is worth a warning."""
    try:
        await port.ready()
    except SchemaError as problem:
        return problem
    except StoreError as failure:
        return f"a store does not answer: {failure}"
    except Exception as failure:  # noqa: BLE001 - a bug of the host's: runs tell of it, too
        return f"port {name} is not ready: {type(failure).__name__}"
    return None


def _use_lean_runner(options: dict[str, Any]) -> None:
    """In place of the SDK's own for workflows outside the sandbox; a host's stays."""
    if type(options.get("unsandboxed_workflow_runner")) is UnsandboxedWorkflowRunner:
        options["unsandboxed_workflow_runner"] = LeanRunner()


def _check_tools(tools: Sequence[object]) -> None:
    for item in tools:
        if not isinstance(item, Tool):
            shown, kind = clean_line(repr(item), 100), type(item).__name__
            msg = f"tools: {shown} is a {kind}, not a Tool: make one of a function with @tool"
            raise ConfigError(msg)


def _check_mcp(source: McpSource, tools: Sequence[Tool]) -> None:
    """Refuse now what would fail, or be ambiguous, when a run is planned."""
    if source and find_spec("mcp") is None:
        raise MissingExtra("mcp", "an MCP server")
    for tool in tools:
        server = tool.name.partition("__")[0]
        if server in source.servers:
            msg = f"tool `{tool.name}` looks like one of the MCP server `{server}`: rename one"
            raise ConfigError(msg)


def _converter(existing: DataConverter | None) -> DataConverter:
    """The user's converter, its codec and all; only Temporal's own defaults are replaced.

    With a codec, failures go through it: their messages say what models and tools said, and
    Temporal's default leaves those readable.
    """
    existing = existing or DataConverter.default
    if existing.payload_codec and existing.failure_converter_class is DefaultFailureConverter:
        encoded = DefaultFailureConverterWithEncodedAttributes
        existing = dataclasses.replace(existing, failure_converter_class=encoded)
    if existing.payload_converter_class is not DefaultPayloadConverter:
        return existing
    return dataclasses.replace(existing, payload_converter_class=SharedConverter)


def _runner(existing: WorkflowRunner | None) -> WorkflowRunner:
    """The user's runner; a sandbox imports executus once instead of once per run.

    Measured: about 1 MB and 50 ms a run otherwise (temporal-sdk.md section 7). Safe because nothing
    that workflows import has mutable module state (tests/test_conventions.py holds that).
    """
    if existing is None:
        existing = SandboxedWorkflowRunner()
    if not isinstance(existing, SandboxedWorkflowRunner):
        return existing
    restrictions: SandboxRestrictions = existing.restrictions.with_passthrough_modules("executus")
    return dataclasses.replace(existing, restrictions=restrictions)
