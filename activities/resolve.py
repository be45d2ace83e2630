"""`executus.resolve`: freeze what a run needs to know about its host."""

import asyncio
from collections.abc import Collection, Sequence

from temporalio import activity
from temporalio.exceptions import ApplicationError

from executus.activities.conversation import Conversations
from executus.activities.delegates import ClashingTools, UnknownAgents, delegates
from executus.activities.grants import Grant, SourceDown, granted
from executus.activities.host import Host
from executus.activities.human import ASK_HUMAN, ask_human
from executus.activities.phases import BadPhase, every_target, plan_phases
from executus.activities.skill import skill_tool
from executus.activities.watchers import watcher
from executus.agent import RunnableAgent
from executus.contracts import RESOLVE, ResolveInput
from executus.critic import CriticPlan
from executus.data import json_bytes
from executus.delivery_target import DeliveryTarget
from executus.errors import ConfigError, UnknownModel
from executus.json_schema import use_problem
from executus.limits import Defaults
from executus.output_schema import Schema, lowered
from executus.packs import Pack, UnknownPack
from executus.packs.prompt import catalogue
from executus.palette import PaletteAsk, RegisteredAgents
from executus.plan import ModelTarget, PhasePlan, Refusal, Resolved, RunPlan, ToolDef
from executus.sanitize import clean_text
from executus.status import Reason
from executus.submit import SUBMIT
from executus.tools import Caller, UnknownTool
from executus.tools.read_more import FILE_TOOLS

MAX_PLAN_BYTES = 900_000
"""JSON bytes of a plan: system prompt and tool schemas together."""
LISTING_SECONDS = 8.0
"""Seconds one attempt waits for MCP servers, below the activity's own time-out. They go on starting
meanwhile, each for its own `connect_seconds`."""


class Resolve:
    """Turns a request's names into a plan."""

    def __init__(self, host: Host, conversations: Conversations) -> None:
        self._host = host
        self._conversations = conversations
        self._skill_use = skill_tool(host, conversations)

    @activity.defn(name=RESOLVE)
    async def resolve(self, asked: ResolveInput) -> Resolved:
        """A plan, or a refusal that names the thing, the known set and the way out."""
        wired = self._host.ports.wired
        try:
            plan = await self._plan(asked)
        except _Refused as refused:
            return Resolved(refusal=refused.refusal, wired=wired)
        self._conversations.remember_plan(plan)
        return Resolved(plan=plan, wired=wired)

    async def _plan(self, asked: ResolveInput) -> RunPlan:
        self._check_delivery(asked.delivery)
        agent = self._agent(asked.agent)
        if asked.model_tier is not None:
            agent = agent.model_copy(update={"model_tier": asked.model_tier})
        bounds = bounds_of(agent, self._host.defaults)
        caller = Caller(
            caller_id=asked.caller_id, tenant_id=asked.tenant_id, agent_id=agent.identity
        )
        grant = await self._grant(agent, asked, caller, bounds)
        packs = self._packs(agent)
        tools = grant.tools
        if packs:
            tools = (*tools, self._skill_use.definition(bounds.tool_result_bytes))
        children = await self._children(agent, asked, bounds, {tool.name for tool in tools})
        human = (ask_human(bounds.tool_result_bytes),) if ASK_HUMAN in agent.tools else ()
        tools = (*tools, *children, *human)
        output_schema = _check_schemas(agent, tools)
        phases = self._phases(agent, bounds, tools)
        prompt = (self._host.system_header, agent.system_prompt, _without(grant.missing))
        plan = RunPlan(
            agent_id=agent.identity,
            agent_name=agent.name,
            registered=agent.name in self._host.agents,
            system_prompt=clean_text("\n\n".join(text for text in prompt if text)),
            targets=every_target(phases) or self._targets(bounds.model_tier),
            summary_targets=self._summary_targets(bounds),
            tools=tools,
            packs=tuple(pack.ref for pack in packs),
            catalogue=catalogue(packs),
            approvals=(*self._host.approvals, *agent.approvals),
            phases=phases,
            input_schema=agent.input_schema,
            output_schema=output_schema,
            critic=await self._watcher(agent, bounds, asked),
            critic_targets=self._judge_targets(agent),
            bounds=bounds,
            wired=self._host.ports.wired,
        )
        size = json_bytes(plan)
        if size > MAX_PLAN_BYTES:
            text = f"system prompt and tool schemas have {size:,} bytes; limit {MAX_PLAN_BYTES:,}"
            raise _Refused(Reason.TOO_LARGE, text)
        return plan

    def _registered(self, agent: RunnableAgent, *, files: bool) -> tuple[str, ...]:
        """Names to look up in the registry: the agent's, and those it gets without asking.

        A file store is of use to who has tools or files.
        """
        named = tuple(name for name in agent.tools if name != ASK_HUMAN)
        uses = files or agent.tools or agent.sub_agents or agent.skills or agent.skill_packs
        if self._host.ports.files is None or not uses:
            return named
        return (*named, *(tool.name for tool in FILE_TOOLS))

    def _check_delivery(self, target: DeliveryTarget | None) -> None:
        """Refuse before anything is paid for what nobody would get to see."""
        if target is None:
            return
        port = self._host.ports.delivery
        problem = (
            "this host delivers nothing: wire Ports(delivery=...), or leave the delivery out"
            if port is None
            else port.problem(target)
        )
        if problem is not None:
            raise _Refused(Reason.DELIVERY_REFUSED, f"delivery: {problem}")

    async def _grant(
        self, agent: RunnableAgent, asked: ResolveInput, caller: Caller, bounds: Defaults
    ) -> Grant:
        """The agent's tools.

        Raises:
            ApplicationError: a server is still starting; the next attempt finds it further on.
        """
        names = self._registered(agent, files=asked.files)
        try:
            async with asyncio.timeout(LISTING_SECONDS):
                return await granted(
                    self._host,
                    names,
                    caller=caller,
                    visibility=agent.visibility,
                    default_result_bytes=bounds.tool_result_bytes,
                )
        except UnknownTool as error:
            raise _Refused(Reason.UNKNOWN_TOOL, str(error)) from None
        except ConfigError as error:
            raise _Refused(Reason.INVALID_REQUEST, str(error)) from None
        except SourceDown as error:
            raise _Refused(Reason.MCP_UNAVAILABLE, str(error)) from None
        except TimeoutError:
            text = "an MCP server of the agent has not started yet"
            raise ApplicationError(text, type="executus.mcp_starting") from None

    def _agent(self, asked: RunnableAgent | str) -> RunnableAgent:
        if isinstance(asked, RunnableAgent):
            return asked
        agent = self._host.agents.get(asked)
        if agent is None:
            known = ", ".join(sorted(self._host.agents)) or "none"
            text = f"unknown agent `{asked[:128]}`; registered: {known}; or pass the agent by value"
            raise _Refused(Reason.UNKNOWN_AGENT, text)
        return agent

    def _packs(self, agent: RunnableAgent) -> tuple[Pack, ...]:
        try:
            return self._host.packs.named(agent.skill_packs)
        except UnknownPack as error:
            raise _Refused(Reason.UNKNOWN_PACK, str(error)) from None

    async def _children(
        self, agent: RunnableAgent, asked: ResolveInput, bounds: Defaults, taken: Collection[str]
    ) -> tuple[ToolDef, ...]:
        """The agents it may hand work to, each as a tool."""
        if not agent.sub_agents and not agent.skills:
            return ()
        palette = self._host.ports.palette or RegisteredAgents(self._host.agents)
        ask = PaletteAsk(
            caller_id=asked.caller_id, tenant_id=asked.tenant_id, agent_id=agent.identity
        )
        try:
            return await delegates(
                agent,
                palette,
                ask,
                defaults=self._host.defaults,
                result_bytes=bounds.tool_result_bytes,
                taken=taken,
            )
        except UnknownAgents as error:
            raise _Refused(Reason.UNKNOWN_AGENT, str(error)) from None
        except ClashingTools as error:
            raise _Refused(Reason.INVALID_REQUEST, str(error)) from None

    def _phases(
        self, agent: RunnableAgent, bounds: Defaults, tools: Sequence[ToolDef]
    ) -> tuple[PhasePlan, ...]:
        try:
            return plan_phases(agent, bounds, tools, self._targets)
        except BadPhase as error:
            raise _Refused(Reason.INVALID_REQUEST, str(error)) from None

    async def _watcher(
        self, agent: RunnableAgent, bounds: Defaults, asked: ResolveInput
    ) -> CriticPlan | None:
        try:
            return await watcher(self._host, agent, bounds, asked)
        except ConfigError as error:
            raise _Refused(Reason.INVALID_REQUEST, str(error)) from None

    def _judge_targets(self, agent: RunnableAgent) -> tuple[ModelTarget, ...]:
        tier = agent.critic.tier if agent.critic else None
        return self._targets(tier) if tier is not None else ()

    def _targets(self, tier: str) -> tuple[ModelTarget, ...]:
        try:
            targets = self._host.models.resolve(tier)
        except (UnknownModel, ConfigError) as error:
            raise _Refused(Reason.UNKNOWN_TIER, str(error)) from None
        if not targets:
            raise _Refused(Reason.UNKNOWN_TIER, f"`{tier}` resolves to no model")
        return targets

    def _summary_targets(self, bounds: Defaults) -> tuple[ModelTarget, ...]:
        """The chain for summaries; the run's own when the host has no such tier."""
        tier = bounds.summary_tier
        if not bounds.compaction_ratio or tier is None or not self._host.models.has_tier(tier):
            return ()
        return self._targets(tier)


def _check_schemas(agent: RunnableAgent, tools: Sequence[ToolDef]) -> Schema | None:
    """The output schema, when there is one and it can be kept to."""
    output: Schema | None = lowered(agent.output_schema)
    for name, schema in (("input_schema", agent.input_schema), ("output_schema", output)):
        problem = None if schema is None else use_problem(schema)
        if problem is not None:
            raise _Refused(Reason.INVALID_REQUEST, f"{name}: {problem}")
    if output is not None and any(tool.name == SUBMIT for tool in tools):
        text = (
            f"output_schema: a tool of the agent is called `{SUBMIT}`, and so is the one by which"
        )
        raise _Refused(Reason.INVALID_REQUEST, f"{text} results are handed in: rename it")
    return output


def _without(missing: Sequence[str]) -> str:
    """What the model is told of servers that do not answer."""
    if not missing:
        return ""
    names = ", ".join(missing)
    return f"Not available in this run, since their server does not answer: the tools of {names}."


def bounds_of(agent: RunnableAgent, defaults: Defaults) -> Defaults:
    """The defaults with the agent's own values on top."""
    own = agent.limits.model_dump(exclude_none=True)
    for name in ("max_iterations", "max_runtime", "model_tier"):
        value = getattr(agent, name)
        if value is not None:
            own[name] = value
    return defaults.model_copy(update=own)


class _Refused(Exception):
    """A way out of nested calls; never seen outside."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(reason=reason, message=clean_text(message)[:2_000])
