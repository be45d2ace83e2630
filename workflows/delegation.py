"""Delegation: a call of an agent or a skill is a child run, bounded by what its parent has left.

Whether a child may start is decided here and from the run's own data alone: no ancestor twice, so
many levels, so many runs below one root.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ChildWorkflowError, TemporalError
from temporalio.workflow import ChildWorkflowHandle, ParentClosePolicy

from executus import contracts
from executus.agent import RunnableAgent
from executus.digest import digest
from executus.endings import typed_result
from executus.invocation import Invocation
from executus.json_schema import value_problem
from executus.jsontext import parse_object
from executus.lineage import ChildResultInput, Lineage
from executus.message import ToolCallPart
from executus.plan import RunPlan, ToolDef
from executus.request import RunRequest
from executus.result import RunResult
from executus.sanitize import cap_text, clean_line, json_text
from executus.status import Status
from executus.timeouts import execution_seconds
from executus.workflows.perform import Options, perform
from executus.workflows.run import Run

SHARE_OF_TIME = 0.9
"""Of the parent's time that a child may have: the rest is for making use of what it brings."""
OVERHEAD_BYTES = 60_000
"""Room in a child's result for what is not its output: newest steps, error, numbers."""
READ_SECONDS = 20.0
PHASE_OVER = "the time of its phase is up"
"""Why a child stops whose parent does not."""
MAX_RUN_ID = 255

Handle = ChildWorkflowHandle[object, RunResult]


class Refused(Exception):
    """A child that may not start; the text is for the model. Never leaves the tool calls."""


class Delegation:
    """Child runs of one run; lives in the workflow."""

    def __init__(self, run: Run, plan: RunPlan) -> None:
        self._run = run
        self._plan = plan

    def shares(self, calls: Sequence[ToolCallPart], tools: dict[str, ToolDef]) -> int:
        """How many of the calls are child runs: they divide what is left among them."""
        named = [tools.get(call.name) for call in calls]
        return len([tool for tool in named if tool and tool.agent]) or 1

    def start(self, step_id: str, call: ToolCallPart, tool: ToolDef, share: int) -> "Child":
        """A child that is to be waited for.

        Raises:
            Refused: it may not start.
        """
        run, agent = self._run, tool.agent
        if agent is None:  # pragma: no cover - only called for tools that have one
            raise Refused(f"{tool.name} is no agent")
        arguments = parse_object(call.arguments)
        problem = value_problem(arguments, tool.parameters)
        if problem is not None:
            raise Refused(f"invalid arguments for {tool.name}: {problem}; nothing ran")
        lineage = self._lineage(agent, tool.result_bytes)
        request = RunRequest(
            invocation=self._invocation(arguments, tool),
            agent=self._capped(agent, lineage.seconds, share),
            lineage=lineage,
        )
        run.descendants += 1
        run.descendants_left -= 1 + lineage.descendants_left
        child = Child(run, child_id(run.key.run_id, step_id), request, lineage)
        child.stake(1)
        child.begin()
        return child

    def _invocation(self, arguments: dict[str, JsonValue], tool: ToolDef) -> Invocation:
        """The same caller, the child's own question."""
        asked = self._run.invocation
        plain = set(arguments) <= {"prompt", "inputs"} and "prompt" in arguments
        own = tool.agent.input_schema if tool.agent else None
        if own is not None and tool.parameters == own:
            plain = False
        inputs = arguments.get("inputs") if plain else arguments
        return Invocation(
            prompt=str(arguments["prompt"]) if plain else "",
            inputs=inputs if isinstance(inputs, dict) else {},
            caller_id=asked.caller_id,
            tenant_id=asked.tenant_id,
            channel_id=asked.channel_id,
            parent_run_id=self._run.key.run_id,
        )

    def _lineage(self, agent: RunnableAgent, result_bytes: int) -> Lineage:
        """The dispatch guard.

        Raises:
            Refused: an ancestor again, too deep, or too many.
        """
        run = self._run
        above = run.request.lineage if run.request else None
        chain = (*(above.ancestors if above else ()), self._plan.agent_id)
        if agent.identity in chain:
            text = f"not run: {agent.identity} is already at work above ({' > '.join(chain)}), and "
            raise Refused(text + "an agent may not start one of its own ancestors")
        if run.depth_left < 1:
            raise Refused(f"not run: {len(chain)} levels of agents are the limit of this run")
        if run.descendants_left < 1:
            raise Refused("not run: the limit of child runs below this run is reached")
        delegates = bool(agent.sub_agents or agent.skills)
        return Lineage(
            ancestors=chain,
            files_also=run.files_roots[1:],
            root_run_id=above.root_run_id if above else run.key.run_id,
            depth_left=run.depth_left - 1,
            # Half of the rest, so that its siblings find some, too; what it leaves comes back.
            descendants_left=(run.descendants_left - 1) // 2 if delegates else 0,
            seconds=run.clock.seconds_reach() * SHARE_OF_TIME,
            result_bytes=result_bytes + OVERHEAD_BYTES,
        )

    def _capped(self, agent: RunnableAgent, seconds: float, share: int) -> RunnableAgent:
        """The agent with limits that fit into what its parent has left.

        Raises:
            Refused: nothing is left.
        """
        spent = self._run.ledger
        allowance = self._run.allowance
        tokens = micro_usd = None
        if allowance is not None and allowance.tokens is not None:
            left = allowance.tokens - spent.usage.total_tokens - allowance.judge.tokens
            tokens = left // share
        if allowance is not None and allowance.micro_usd is not None:
            left = allowance.micro_usd - (spent.cost_micro_usd or 0) - allowance.judge.micro_usd
            micro_usd = left // share
        own = agent.limits
        limits = {
            "tokens": _least(own.tokens, tokens),
            "micro_usd": _least(own.micro_usd, micro_usd),
        }
        if any(value is not None and value < 1 for value in limits.values()):
            raise Refused("not run: the run's limit on tokens or money leaves nothing for it")
        runtime = min(agent.max_runtime or seconds, seconds)
        return agent.model_copy(
            update={"limits": own.model_copy(update=limits), "max_runtime": runtime}
        )


class Child:
    """One child run that was asked for. It is stopped by its own signal, so that it can tell."""

    def __init__(self, run: Run, run_id: str, request: RunRequest, lineage: Lineage) -> None:
        self._run = run
        self.run_id = run_id
        self._request = request
        self._lineage = lineage
        self._stop = asyncio.Event()
        self._task: asyncio.Task[RunResult | str] | None = None

    def begin(self) -> None:
        """Start it, in a task that no cancel of the parent enters."""
        self._task = asyncio.create_task(self._follow())

    @property
    def task(self) -> asyncio.Task["RunResult | str"]:
        """Its result, or in one sentence why there is none."""
        if self._task is None:  # pragma: no cover - begin was called
            raise RuntimeError("not begun")
        return self._task

    def stop(self) -> None:
        """The parent stops: let it stop, too, and still tell what it used."""
        self._stop.set()

    def stake(self, sign: int) -> None:
        """Count what it may take as under way, or no longer (-1)."""
        agent, allowance = self._request.agent, self._run.allowance
        if allowance is not None and isinstance(agent, RunnableAgent):
            limits = agent.limits
            tokens, micro_usd = limits.tokens or 0, limits.micro_usd or 0
            allowance.steps = allowance.steps.plus(sign * tokens, sign * micro_usd)

    def settle(self, result: RunResult | None) -> None:
        """Give back what it did not use; one that cannot tell is taken to have used it all."""
        self.stake(-1)
        quota = self._lineage.descendants_left
        used = quota if result is None else min(result.descendants, quota)
        self._run.descendants += used
        self._run.descendants_left += quota - used

    async def _follow(self) -> RunResult | str:
        agent = self._request.agent
        named = agent if isinstance(agent, str) else agent.name
        runtime = self._lineage.seconds
        cleanup = self._run.bounds.cleanup_seconds
        try:
            handle: Handle = await workflow.start_child_workflow(
                contracts.AGENT_RUN,
                self._request,
                id=self.run_id,
                result_type=RunResult,
                execution_timeout=timedelta(seconds=execution_seconds(runtime, cleanup)),
                parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
                retry_policy=RetryPolicy(maximum_attempts=1),
                static_summary=clean_line(f"{named} for {self._request.invocation.caller_id}", 200),
            )
        except TemporalError as error:
            return f"the child run could not start: {error}"
        outcome = asyncio.create_task(self._outcome(handle))
        stopped = asyncio.create_task(self._stop.wait())
        await workflow.wait([outcome, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not outcome.done():
            await self._stop_it(handle, outcome)
        stopped.cancel()
        if not outcome.done():
            handle.cancel()
            return "it did not stop in time, and was left to itself"
        return outcome.result()

    async def _stop_it(self, handle: Handle, outcome: asyncio.Task[RunResult | str]) -> None:
        """Ask it to stop, and wait as long as its cleanup may take."""
        stop, parent = self._run.stop_why, self._run.key.run_id
        text = f"its parent stopped: {stop.error or 'cancelled'}" if stop else PHASE_OVER
        try:
            await handle.signal(contracts.SIGNAL_CANCEL, args=[text, f"run {parent}"])
        except TemporalError as error:
            workflow.logger.info("executus: child already gone: %s", error)
        bounds = self._run.bounds
        seconds = bounds.cleanup_seconds + bounds.heartbeat_seconds
        await workflow.wait([outcome], timeout=seconds)

    async def _outcome(self, handle: Handle) -> RunResult | str:
        try:
            return await handle
        except ChildWorkflowError as error:
            typed = typed_result(error.cause)
            return typed if typed is not None else await self._read(str(error.cause or error))

    async def _read(self, why: str) -> RunResult | str:
        """It ended without a word to its parent: ask what is known."""
        options = Options(whole=READ_SECONDS, attempt=READ_SECONDS)
        try:
            return await perform(
                contracts.CHILD_RESULT,
                ChildResultInput(run_id=self.run_id),
                RunResult,
                options,
                clean_line(self.run_id, 200),
            )
        except ActivityError:
            return why


def child_id(run_id: str, step_id: str) -> str:
    """A new id: random, so that a parent that was reset does not meet its children of before."""
    tail = f"/{step_id}-{workflow.uuid4().hex[:8]}"
    if len(run_id) + len(tail) > MAX_RUN_ID:
        run_id = digest(run_id.encode())
    return run_id + tail


def child_text(result: RunResult, limit: int) -> str:
    """What the model is told of a child's end: its answer; of a failed one also how it ended."""
    output = json_text(result.structured) if result.structured is not None else result.output
    if result.status is not Status.OK:
        head = (
            f"status {result.status.value} ({result.reason.value}): {result.error or 'no detail'}"
        )
        output = f"{head}\n\n[partial output]\n{output}" if output else head
    return cap_text(output, limit).text


def _least(own: int | None, left: int | None) -> int | None:
    known = [value for value in (own, left) if value is not None]
    return min(known) if known else None
