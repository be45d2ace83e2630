"""Compaction on real runs: once for each stretch, without secrets, and never at the run's cost."""

import asyncio

import pytest

from executus import Defaults, Reason, Status
from executus.models.registry import Models
from executus.models.scripted import Say, Scripted, call, fail, hang, say
from executus.tools import tool
from executus.usage import Usage

from .kit import assert_closed_once, kit

COMPACT = "executus.compact"
HIDDEN, TOKEN = "the-vault-number-4711", "sk-canary-0123456789abcdefghij"
TURNS = 14


@tool(effect="pure")
async def read(page: int) -> str:
    """Read a page of 2,400 bytes."""
    return f"page {page}: " + "data " * 480


@tool(effect="pure", secret_arguments=True)
async def unlock(code: str) -> str:
    """Open something."""
    return "open"


@tool(effect="pure")
async def login(user: str, password: str) -> str:
    """Log in."""
    return "in"


TOOLS = [read, unlock, login]
NAMES = tuple(item.name for item in TOOLS)


class Reader:
    """A model that reads page after page, and remembers what it was shown."""

    def __init__(self, *first: Say) -> None:
        self.first = first
        self.shown: list[list[str]] = []
        self.turns = 0

    def __call__(self, request):
        self.shown.append([wire.message.text for wire in request.messages])
        turn, self.turns = self.turns, self.turns + 1
        if turn < len(self.first):
            return self.first[turn]
        return call("read", page=turn) if turn < TURNS else say("all read")


class Summariser:
    """A model that writes summaries, and remembers what it was asked to fold."""

    def __init__(self, reply=None) -> None:
        self.reply = reply or say("SUMMARY: pages were read")
        self.asked: list[str] = []

    def __call__(self, request):
        self.asked.append(request.messages[0].message.text)
        return self.reply


def models(reader, summariser) -> Models:
    scripts = {"reader": reader, "folder": summariser}
    tiers = {"reader": "scripted/reader", "folder": "scripted/folder"}
    return Models(tiers, providers=[Scripted(scripts)], windows={"scripted/reader": 10_000})


async def run(env, reader, summariser):
    defaults = Defaults(summary_tier="folder", max_iterations=20, max_runtime=600)
    async with kit(env, tools=TOOLS, models=models(reader, summariser), defaults=defaults) as k:
        out = await k.run(None, model_tier="reader", tools=NAMES, prompt="read it all")
        await assert_closed_once(k, out)
        return out, await k.audit.rows(out.result.run_id)


@pytest.mark.parametrize(
    "reply",
    [
        Say(text="", stop="length"),
        Say(text="", stop="end"),
        Say(text="I cannot help with that.", stop="refusal"),
        Say(text="The goal is to", stop="length"),
    ],
    ids=["thought only", "empty", "refused", "cut"],
)
async def test_a_summary_that_is_none_folds_nothing_and_is_paid_for(env, reply):
    reader, summariser = Reader(), Summariser(reply)
    out, entries = await run(env, reader, summariser)
    assert (out.result.status, out.result.output) == (Status.OK, "all read")
    names = [entry.name for entry in entries]
    assert ("compaction_failed" in names, "compaction_fired" in names) == (True, False)
    assert [len(texts) for texts in reader.shown] == list(range(1, 2 * TURNS + 2, 2)), "all of it"
    folds = [step for step in out.result.steps if step.kind == "compact"]
    assert folds
    assert all(step.usage.model_calls == 1 for step in folds)


async def test_messages_are_folded_once_and_not_at_every_turn(env):
    reader, summariser = Reader(), Summariser()
    out, entries = await run(env, reader, summariser)
    assert (out.result.status, out.result.output) == (Status.OK, "all read")
    folds = out.activities.count(COMPACT)
    assert 1 <= folds <= 2 < TURNS
    assert len(summariser.asked) == folds
    after = [texts for texts in reader.shown if any("SUMMARY" in text for text in texts)]
    assert len(after) > folds, "the summary is shown again, not written again"
    assert all(texts[0] == "read it all" for texts in reader.shown), "the goal stays"
    fired = [entry for entry in entries if entry.name == "compaction_fired"]
    assert len(fired) == folds, "it is never silent"
    assert out.result.usage.model_calls == TURNS + 1 + folds, "one ledger: summaries are in it"
    paid = [step.usage.total_tokens for step in out.result.steps if step.usage]
    assert out.result.usage.total_tokens == sum(paid)
    closed = next(entry for entry in entries if entry.entry == "close")
    assert closed.body["usage"] == out.result.usage.model_dump(mode="json")


@pytest.mark.parametrize("limit", [34_000, 38_000, 40_000, 42_000])
async def test_a_summary_keeps_the_runs_own_limit(env, limit):
    asked = []

    def summarise(request):
        asked.append(request.max_output_tokens)
        usage = Usage(input_tokens=6_000, output_tokens=request.max_output_tokens, model_calls=1)
        return Say(text="SUMMARY: pages were read", usage=usage)

    defaults = Defaults(summary_tier="folder", max_iterations=20, max_runtime=600)
    limits = {"tokens": limit, "max_output_tokens": 2_000}
    async with kit(env, tools=TOOLS, models=models(Reader(), summarise), defaults=defaults) as k:
        out = await k.run(None, model_tier="reader", tools=NAMES, prompt="read", limits=limits)
        assert out.result.reason is Reason.TOKEN_LIMIT
        assert out.result.usage.total_tokens <= limit
        events = [r for r in await k.audit.rows(out.result.run_id) if r.name == "compaction_failed"]
        assert len(asked) + len(events) == 1, "it was written, or the record says why not"
        assert all("token limit" in row.body["summary"] for row in events)
        assert all(256 <= most <= 2_000 for most in asked)
        await assert_closed_once(k, out)


async def test_a_compactor_that_fails_sends_the_originals(env):
    reader, summariser = Reader(), Summariser(fail("request_rejected", "no summaries today"))
    out, entries = await run(env, reader, summariser)
    assert (out.result.status, out.result.output) == (Status.OK, "all read")
    assert [len(texts) for texts in reader.shown] == [1 + 2 * turn for turn in range(TURNS + 1)]
    assert 1 <= out.activities.count(COMPACT) <= 3, "a failure is not paid for at every turn"
    names = {entry.name for entry in entries}
    assert "compaction_failed" in names
    assert "compaction_fired" not in names


async def test_a_secret_argument_is_absent_from_the_summarisers_prompt(env):
    reader = Reader(
        call("unlock", code=HIDDEN),
        call("login", user="ann", password="hunter2-hunter2"),
        call("login", user=TOKEN, password="x"),
    )
    summariser = Summariser()
    await run(env, reader, summariser)
    asked = "\n".join(summariser.asked)
    assert "unlock" in asked, "nothing of the calls is there: this test shows nothing"
    assert "login" in asked
    for secret in (HIDDEN, "hunter2", TOKEN):
        assert secret not in asked


async def test_a_stop_while_a_summary_is_written_is_a_stop_and_no_failed_summary(env):
    reader, summariser = Reader(), Summariser(hang())
    defaults = Defaults(summary_tier="folder", max_iterations=20, max_runtime=600)
    async with kit(env, tools=TOOLS, models=models(reader, summariser), defaults=defaults) as k:
        handle = await k.start(None, model_tier="reader", tools=NAMES)
        while not summariser.asked:
            await asyncio.sleep(0.02)
        before = reader.turns
        await k.runs.cancel(handle.id, "enough")
        out = await k.outcome(handle.id)
        assert (out.result.status, out.result.reason) == (Status.CANCELLED, Reason.CANCEL_SIGNAL)
        assert reader.turns == before, "the originals went out after a stop"
        await assert_closed_once(k, out)
