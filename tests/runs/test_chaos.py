"""Runs made up from seeds, and whatever may happen to a run at any moment: what always holds.

A seed is an agent, what its model says, and what people do meanwhile. Most of it comes out the same
again; when something from outside arrives does not. A run that breaks a rule names its seed.
"""

import asyncio
import random
import uuid
from collections import Counter

import pytest
from temporalio.service import RPCError

from executus import Reason
from executus.errors import UserError
from executus.limits import Defaults
from executus.models.scripted import calls, fail, say
from executus.phase import Phase
from executus.question import Decision
from executus.steer import SteerReceipt
from executus.tools import ToolContext, tool
from executus.transcript import TranscriptPage
from executus.usage import Usage
from tests.workflows.fakes import assert_well_formed

from .kit import activities, assert_closed_once, kit
from .test_delegation import agent
from .test_long_runs import chain

SEEDS, AT_ONCE = range(16), 8
ENDINGS = set(Reason) - {Reason.INTERNAL, Reason.PORT_FAILED, Reason.BACKSTOP}
WORK = ("executus.model", "executus.compact", "tool.")
SECRET = "sk-canary-0123456789abcdefghij"
DONE: Counter[str] = Counter()


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def book(ctx: ToolContext) -> str:
    """Book something, once."""
    DONE[ctx.idempotency_key] += 1
    await asyncio.sleep(0.05)
    return "booked"


@tool(effect="pure", attempts=1)
async def boom() -> str:
    """Fail."""
    raise ValueError(f"no {SECRET}")


@tool(effect="pure", local=True)
async def long(n: int) -> str:
    """Return a long text inside of the workflow task."""
    return f"{SECRET} " + "word " * n


@tool(requires_approval=True)
async def send() -> str:
    """Send something."""
    return "sent"


TOOLS = [add, book, boom, long, send]
GOOD = {"add": {"a": 1, "b": 2}, "long": {"n": 900}, "agent__leaf": {"prompt": "go"}}


class Model:
    """Says what comes to it from a seed."""

    def __init__(self, seed: str, ends: float) -> None:
        self.seed, self.ends, self.turns = seed, ends, 0

    def __call__(self, request):
        r = random.Random(f"{self.seed}/{self.turns}")  # noqa: S311 - not for secrets
        self.turns += 1
        kind, names = r.random(), [t.name for t in request.tools]
        small = Usage(input_tokens=20, output_tokens=20, model_calls=1)
        if kind < 0.04:
            return fail(r.choice(["overloaded", "not_found"]), f"no {SECRET}", times=1, then="ok")
        if kind < 0.06:
            return say(r.choice(["", "cut"]), stop=r.choice(["length", "end"]), usage=small)
        if kind < 0.08 + self.ends or not names or request.tool_choice == "none":
            return say(f"answer {r.random()}", delay=r.choice([0, 0.05]), usage=small)
        asked = [r.choice(names) for _ in range(r.choice([1, 1, 2, 4]))]
        odd = r.choice(["{", "[]", '{"x": 1}'])
        return calls(*[(n, odd if r.random() < 0.05 else GOOD.get(n, {})) for n in asked])


def request(k, seed: int):
    """A run of this seed."""
    r = random.Random(seed)  # noqa: S311 - not for secrets
    model = Model(f"m{seed}", r.choice([0.0, 0.05, 0.3]))
    limits = {"tool_errors": 0, "same_tool_calls": 0, "tool_calls": r.choice([2, 64])}
    if r.random() < 0.4:
        limits |= {"tokens": r.choice([2_500, 6_000]), "max_output_tokens": 300}
        limits |= {"at_limit": r.choice(["stop", "wrap_up", "ask"])}
    k.scripts[f"c{seed}"] = model
    phases = ()
    if r.random() < 0.4:
        tier = {"model_tier": f"scripted/c{seed}", "max_iterations": r.randint(1, 3)}
        phases = tuple(Phase(name=f"P{n}", optional=n == 0, **tier) for n in range(3))
    return k.request(
        model,
        run_id=f"chaos-{seed}-{uuid.uuid4().hex[:6]}",
        tools=tuple(t.name for t in TOOLS),
        sub_agents=("leaf",) if r.random() < 0.3 else (),
        max_iterations=r.choice([1, 4, 12]),
        max_runtime=r.choice([3, 600]),
        limits=limits,
        phases=phases,
    )


async def meddle(k, run_id: str, r: random.Random, said: dict[str, SteerReceipt | None]) -> None:
    """Do something to a run; that it has ended, or takes none of this, is an answer as well."""
    await asyncio.sleep(r.choice([0, 0.05, 0.2, 0.5]))
    kind = r.choice(["steer", "wait", "wait", "decide", "raise", "cancel", "native"])
    text = f"word-{len(said)}-{r.random()}"
    try:
        match kind:
            case "steer":
                await k.runs.steer(run_id, text)
                said[text] = None
            case "wait":
                said[text] = await k.runs.steer_and_wait(run_id, text)
            case "decide":
                for question in (await k.runs.state(run_id)).questions:
                    asked = {"step_id": question.step_id, "digest": question.digest}
                    await k.runs.approve(run_id, Decision(by="bob", **asked))
            case "raise":
                await k.runs.raise_limits(run_id, tokens=9_000)
            case "cancel":
                await k.runs.cancel(run_id, f"enough {SECRET}")
            case _:
                await k.client.get_workflow_handle(run_id).cancel()
    except (RPCError, UserError):
        pass


async def live(k, seed: int) -> None:
    """One run from its start to its end; then what holds of every run."""
    r = random.Random(f"events {seed}")  # noqa: S311 - not for secrets
    said: dict[str, SteerReceipt | None] = {}
    run_id = (await k.runs.start(request(k, seed))).id
    others = [meddle(k, run_id, r, said) for _ in range(r.choice([0, 1, 2, 5]))]
    async with asyncio.timeout(60):
        await asyncio.gather(*others)
        out = await k.outcome(run_id)
    result = out.result
    assert result.reason in ENDINGS, result.error
    await assert_closed_once(k, out, reserved=run_id in k.budget._holds)
    executions = await chain(k, run_id)
    done = [name for history in executions for name in activities(history)]
    after = done[done.index("executus.budget.commit") :] if "executus.budget.commit" in done else []
    assert not [name for name in after if name.startswith(WORK)], "work after the settlement"
    ids = Counter(step.id for step in result.steps)
    assert not [step_id for step_id, count in ids.items() if count > 1], "two steps of one id"
    state = await k.runs.state(run_id)
    assert result.usage.total_tokens <= (state.tokens_limit or result.usage.total_tokens)
    handle = k.client.get_workflow_handle(run_id)
    page = await handle.query("transcript", 0, result_type=TranscriptPage)
    if len(executions) == 1:  # of a long run only what the model is shown is handed over
        assert_well_formed(page.messages)
    rows = await k.audit.rows(run_id)
    for text, receipt in said.items():
        told = [row.name for row in rows if row.name.startswith("steer") and text in str(row.body)]
        if receipt is not None:
            assert told == ["steer" if receipt.delivered else "steer_dropped"], receipt
        assert len(told) <= 1
        assert sum(text in message.text for message in page.messages) <= 1
    seen = [result.error or "", state.model_dump_json(), *(row.model_dump_json() for row in rows)]
    assert SECRET not in "".join(seen)


async def test_what_holds_of_every_run_holds_of_runs_made_up_in_bulk(env):
    defaults = Defaults(history_events=60, approval_seconds=2, cleanup_seconds=60)
    leaf = agent("leaf", tools=("add", "boom"), max_iterations=2)
    async with kit(env, tools=TOOLS, agents=[leaf], defaults=defaults) as k:
        k.scripts["leaf"] = Model("leaf", 0.3)
        room = asyncio.Semaphore(AT_ONCE)
        broken: list[str] = []

        async def one(seed: int) -> None:
            async with room:
                try:
                    await live(k, seed)
                except (AssertionError, TimeoutError) as error:
                    broken.append(f"seed {seed}: {error!r}")

        await asyncio.gather(*[one(seed) for seed in SEEDS])
        if broken:
            pytest.fail("\n".join(broken))
        assert max(DONE.values()) == 1, "an effect happened twice"
