"""A loop engine without Temporal: scripted replies, scripted results, its own clock."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from temporalio import workflow

from executus.activities.phases import plan_phases
from executus.agent import RunnableAgent
from executus.contracts import ModelStepOutput
from executus.limits import Defaults
from executus.message import Fold, Message, TextPart, ToolCallPart, ToolResultPart
from executus.phase import Phase
from executus.plan import ModelTarget, Price, RunPlan, ToolDef
from executus.transcript import Transcript, view
from executus.usage import Usage
from executus.workflows.allowance import Allowance
from executus.workflows.clock import Clock
from executus.workflows.ending import Ending
from executus.workflows.inbox import Inbox
from executus.workflows.ledger import Ledger
from executus.workflows.loop import AgentLoop
from executus.workflows.pipeline import Pipeline
from executus.workflows.progress import Progress

START = datetime(2026, 1, 1, tzinfo=UTC)


def set_time(patch: pytest.MonkeyPatch, now: Callable[[], datetime]) -> None:
    """Tell the time where there is no workflow."""
    patch.setattr(workflow, "now", now)
    patch.setattr(Clock, "now", staticmethod(now))


def say(text: str, *, stop: str = "end", tokens: int = 10) -> ModelStepOutput:
    return reply(Message(role="assistant", parts=(TextPart(text=text),)), stop, tokens)


def call(*names: str, text: str = "", stop: str = "tool_calls", args: str = "{}", tokens: int = 10):
    parts = [TextPart(text=text)] if text else []
    calls = [
        ToolCallPart(id=f"{name}-{i}", name=name, arguments=args) for i, name in enumerate(names)
    ]
    return reply(Message(role="assistant", parts=(*parts, *calls)), stop, tokens)


def reply(message: Message, stop: str, tokens: int) -> ModelStepOutput:
    return ModelStepOutput(
        message=message,
        stop=stop,
        usage=Usage(input_tokens=tokens, output_tokens=tokens, model_calls=1),
        spec="fake/model",
    )


def plan(**bounds) -> RunPlan:
    window = bounds.pop("window", 100_000)
    price = bounds.pop("price", None)
    tools = bounds.pop("tools", ("t",))
    return RunPlan(
        agent_id="a",
        agent_name="a",
        targets=(
            ModelTarget(spec="fake/model", context_window=window, price=price and Price(**price)),
        ),
        tools=tuple(ToolDef(name=name, parameters={}, digest="d") for name in tools),
        bounds=Defaults(**bounds),
    )


@dataclass
class FakeEngine:
    """Answers from a script; a callable in it is asked with the transcript."""

    script: list
    tool: Callable[[ToolCallPart, int], ToolResultPart] | None = None
    summary: Message | Callable[[Fold], Message | None] | None = None
    transcript: Transcript = field(default_factory=Transcript)
    steer: Inbox = field(default_factory=Inbox)
    ledger: Ledger = field(default_factory=Ledger)
    stopping: bool = False
    model_steps: list[dict] = field(default_factory=list)
    calls: list[ToolCallPart] = field(default_factory=list)
    folds: list[Fold] = field(default_factory=list)
    clock: datetime = START
    images: list[Message] = field(default_factory=list)
    pauses: list[str] = field(default_factory=list)
    waits: list[float | None] = field(default_factory=list)
    on_pause: Callable | None = None
    plan: RunPlan | None = None
    full: bool = False

    def now(self) -> datetime:
        return self.clock

    async def pause(self, why, seconds):
        self.pauses.append(why)
        self.waits.append(seconds)
        if len(self.pauses) > 3:
            raise asyncio.CancelledError
        if self.on_pause is not None:
            self.on_pause(self)

    def is_full(self) -> bool:
        return self.full

    def follow(self, plan: RunPlan) -> None:
        self.plan = plan

    async def within(self, work, seconds):
        """A phase whose script says PhaseOver has used up its own time."""
        return await work

    def checkpoint(self) -> None:
        if self.stopping:
            raise asyncio.CancelledError

    async def model_step(self, step_id, iteration, max_output_tokens, *, closing):
        assert_well_formed(self.transcript.messages)
        self.clock += timedelta(seconds=1)
        shown = [self.transcript.messages[i] for i in view(self.transcript.messages)]
        self.model_steps.append(
            {
                "id": step_id,
                "room": max_output_tokens,
                "closing": closing,
                "shown": shown,
                "plan": self.plan,
            }
        )
        if not self.script:
            raise AssertionError("script exhausted")
        item = self.script.pop(0)
        if callable(item):
            item = item(self)
        if isinstance(item, BaseException):
            raise item
        self.ledger.begin(step_id, "model", 1, "", self.now())
        self.ledger.finish(
            step_id, "complete", self.now(), usage=item.usage, cost_micro_usd=item.cost_micro_usd
        )
        return item

    async def call_tools(self, iteration: int, calls: Sequence[ToolCallPart], answers):
        self.calls.extend(call for call in calls if call.id not in answers)
        return [answers.get(call.id) or self._result(call, n) for n, call in enumerate(calls)]

    def attached(self):
        messages, self.images = self.images, []
        return messages

    def _result(self, call: ToolCallPart, n: int) -> ToolResultPart:
        if self.tool is not None:
            return self.tool(call, len(self.calls) - 1)
        return ok(call, f"result {len(self.calls)} {n}")

    async def save(self) -> None:
        assert_well_formed(self.transcript.messages)

    async def compact(self, step_id, fold, max_output_tokens):
        self.folds.append(fold)
        return self.summary(fold) if callable(self.summary) else self.summary


def ok(call: ToolCallPart, text: str = "ok") -> ToolResultPart:
    return ToolResultPart(call_id=call.id, name=call.name, text=text)


def failed(call: ToolCallPart, n: int = 0) -> ToolResultPart:
    return ToolResultPart(call_id=call.id, name=call.name, text=f"boom {n}", outcome="error")


async def run_loop(engine: FakeEngine, run_plan: RunPlan, prompt: str = "do it") -> Ending:
    engine.transcript.append(Message.user(prompt))
    loop = AgentLoop(run_plan, engine.transcript, engine.ledger, steer=engine.steer, engine=engine)
    engine.loop = loop
    return await loop.run()


def phases_of(*phases: Phase, header: str = "", **bounds) -> RunPlan:
    """A plan with these phases, as resolve makes it."""
    made = plan(**bounds)
    agent = RunnableAgent(name="a", phases=phases)
    return made.model_copy(
        update={
            "system_prompt": header,
            "phases": plan_phases(agent, made.bounds, made.tools, lambda tier: made.targets),
        }
    )


def pipeline(engine: FakeEngine, run_plan: RunPlan, progress: Progress | None = None) -> Pipeline:
    engine.progress = progress or Progress()
    return Pipeline(
        run_plan,
        engine.progress,
        engine.transcript,
        engine.ledger,
        steer=engine.steer,
        engine=engine,
        allowance=Allowance.of(run_plan),
    )


async def run_phases(engine: FakeEngine, run_plan: RunPlan, prompt: str = "do it") -> Ending:
    engine.transcript.append(Message.user(prompt))
    return await pipeline(engine, run_plan).run()


def assert_well_formed(messages: Sequence[Message]) -> None:
    """Every call is answered exactly once, right after the turn that made it (invariant I8)."""
    open_calls: list[str] = []
    answered: set[str] = set()
    for message in messages:
        if message.role == "tool":
            (part,) = message.parts
            assert part.call_id in open_calls, "a result without its call"
            open_calls.remove(part.call_id)
            answered.add(part.call_id)
        else:
            assert not open_calls, f"unanswered calls {open_calls} before a {message.role} message"
        open_calls.extend(item.id for item in message.tool_calls)
    assert not open_calls
