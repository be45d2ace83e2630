"""Ten thousand scripted runs of the pure loop: the transcript is well-formed, limits hold."""

import asyncio
from collections import Counter
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executus.errors import RunError
from executus.message import Message, TextPart
from executus.status import Reason, Status

from .fakes import FakeEngine, assert_well_formed, call, failed, ok, plan, run_loop, say

NAMES = ("t", "u", "run_status", "nope")
ENDED = Counter()


def reply(random: Random):
    """What a model, or a provider, may come up with."""
    kind, tokens = random.randrange(10), random.randrange(401)
    if kind <= 4:
        names = random.choices(NAMES, k=random.randrange(1, 5))
        args = random.choice(["{}", '{"a":1}', "{", "[]", ""])
        stop = random.choice(["tool_calls", "tool_calls", "end", "length"])
        return call(*names, text=random.choice(["", "aside"]), stop=stop, args=args, tokens=tokens)
    if kind == 5:
        return say(random.choice(["42", "", "as answered above", "x" * 500]), tokens=tokens)
    if kind == 6:
        return say("cut", stop=random.choice(["length", "refusal"]), tokens=tokens)
    if kind == 7:
        reasons = [Reason.MODEL_UNAVAILABLE, Reason.TOO_LARGE, Reason.PROVIDER_AUTH]
        return RunError(Status.ERROR, random.choice(reasons), "down")
    if kind == 8:
        return lambda engine: (engine.steer.put("steer"), call("t", tokens=tokens))[1]
    return say("bad", tokens=tokens).model_copy(update={"invalid": "not JSON"})


def finish(coroutine):
    """Run a coroutine that never waits for anything: no event loop, so 10,000 take seconds."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the loop waited for something that is not the engine")


def unique(script):
    """Call ids are unique in a run: the model activity sees to it (activities/reply.py)."""
    count = 0
    for item in script:
        if hasattr(item, "message"):
            parts = []
            for part in item.message.parts:
                count += 1
                new = {"id": f"c{count}"} if part.type == "tool_call" else {}
                parts.append(part.model_copy(update=new))
            message = Message(role="assistant", parts=tuple(parts))
            yield item.model_copy(update={"message": message})
        else:
            yield item


@settings(
    max_examples=10_000,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(seed=st.integers(0, 2**32))
def check_sequence(seed):
    # From a seed: drawing each part by hypothesis took seven times as long as running the loops.
    random = Random(seed)  # noqa: S311 - no secret hangs on it
    script = [reply(random) for _ in range(random.randrange(10))]
    iterations = random.randrange(1, 7)
    tokens = random.choice([None, random.randrange(300, 3_001)])
    guards = random.randrange(4)
    window = random.choice([600, 100_000])
    stop_at = random.choice([None, random.randrange(7)])
    outcomes = [random.randrange(3) for _ in range(random.randrange(1, 6))]
    counter = iter(range(10_000))

    def tool(item, n):
        kind = outcomes[n % len(outcomes)]
        text = "same" if kind == 2 else f"r{next(counter)}"
        return failed(item, n) if kind == 1 else ok(item, text)

    def summary(fold):
        return Message(role="summary", parts=(TextPart(text="s"),), fold=fold)

    count = len(script)
    for n, item in enumerate(unique(script)):
        script[n] = item
    # What the script leaves open is answered, so that a run that never ends is a failure here.
    script += [say("the end")] * (iterations + 3)
    engine = FakeEngine(script, tool=tool, summary=summary)
    if stop_at is not None and stop_at < count:
        inner = script[stop_at]

        def stop(engine):
            engine.stopping = True
            return inner(engine) if callable(inner) else inner

        script[stop_at] = stop
    bounds = plan(
        max_iterations=iterations,
        tokens=tokens,
        tool_errors=guards,
        same_tool_calls=guards,
        window=window,
        max_output_tokens=500,
        tools=("t", "u"),
    )
    try:
        ending = finish(run_loop(engine, bounds))
    except asyncio.CancelledError:
        assert engine.stopping
        ENDED["cancelled"] += 1
    else:
        ENDED[ending.reason] += 1
        assert (ending.status is Status.OK) == (ending.reason is Reason.ANSWER)
        assert (ending.error is None) == (ending.status is Status.OK)
    assert_well_formed(engine.transcript.messages)
    assert_each_step_has_its_own_message(engine)
    turns = [
        step for step in engine.model_steps if not step["closing"] and step["id"].count(".") == 0
    ]
    assert len(turns) <= iterations
    assert sum(step["closing"] for step in engine.model_steps) <= 1
    if engine.stopping:
        assert len(engine.model_steps) <= stop_at + 1, "a model step after the stop"


def assert_each_step_has_its_own_message(engine):
    """What a step brought stands where the ledger says, and nothing said lacks its step."""
    said = {
        at: message.role
        for at, message in enumerate(engine.transcript.messages)
        if message.role in ("assistant", "summary")
    }
    noted = {
        at: "summary" if step_id.startswith("c") else "assistant"
        for step_id, at in engine.ledger.messages.items()
    }
    assert noted == said
    assert len(noted) == len(engine.ledger.messages)


@pytest.mark.timeout(300)  # seconds; twice as long under coverage
def test_any_sequence_ends_well_formed_and_within_its_limits():
    check_sequence()
    expected = {
        "cancelled",
        Reason.ANSWER,
        Reason.MAX_ITERATIONS,
        Reason.TOOL_ERRORS,
        Reason.TOOL_LOOP,
        Reason.MODEL_UNAVAILABLE,
        Reason.MODEL_INCOMPLETE,
        Reason.MODEL_REFUSED,
        Reason.TOKEN_LIMIT,
        Reason.TOO_LARGE,
        Reason.INVALID_OUTPUT,
    }
    assert expected <= set(ENDED)
