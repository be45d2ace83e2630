"""A worker's copies of transcripts: right, bounded, and never a wrong conversation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.exceptions import ApplicationError

from executus.activities import conversation
from executus.activities.conversation import PRODUCED_BYTES, Conversations
from executus.contracts import RunKey
from executus.limits import Defaults
from executus.message import Message
from executus.plan import ModelTarget, RunPlan
from executus.transcript import Cursor, Transcript, TranscriptPage

KEY = RunKey(run_id="r", workflow_run_id="w")


class Workflow:
    """Stands for the workflow that is asked for what is missing."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.asked: list[int] = []

    async def query(self, name, argument, kind):
        assert kind is TranscriptPage
        self.asked.append(argument)
        return self.transcript.page(argument, 900_000)


def message(n: int, size: int = 10) -> Message:
    return Message.user(f"{n}:" + "x" * size)


@pytest.fixture
def workflow(monkeypatch) -> Workflow:
    made = Workflow(Transcript())
    monkeypatch.setattr(conversation, "_query", made.query)
    return made


async def load(cache: Conversations, transcript: Transcript, tail=(), inline=(), key=KEY):
    items = await cache.load(key, transcript.cursor, tail, inline)
    return [item.message for item in items]


async def test_what_this_worker_made_needs_no_query(workflow):
    cache, transcript = Conversations(), workflow.transcript
    for n in range(5):
        made = message(n)
        cache.remember(KEY, made)
        transcript.append(made)
        assert await load(cache, transcript, tail=transcript.digests[-1:]) == transcript.messages
    assert workflow.asked == []
    assert (cache.hits, cache.misses) == (5, 0)


async def test_small_messages_of_the_workflow_travel_inline(workflow):
    cache, transcript = Conversations(), workflow.transcript
    transcript.append(message(1))
    got = await load(cache, transcript, transcript.digests, transcript.messages)
    assert got == transcript.messages
    assert workflow.asked == []


async def test_what_is_missing_is_asked_for_from_where_it_is_missing(workflow):
    cache, transcript = Conversations(), workflow.transcript
    transcript.append(message(0))
    await load(cache, transcript)
    for n in range(1, 4):
        transcript.append(message(n))
    assert await load(cache, transcript, tail=transcript.digests[-3:]) == transcript.messages
    assert workflow.asked == [0, 1]


async def test_a_foreign_copy_is_thrown_away_and_fetched_again(workflow):
    cache, transcript = Conversations(), workflow.transcript
    for n in range(3):
        transcript.append(message(n))
    await load(cache, transcript)
    other = Transcript([message(0), message(7), message(8), message(9)])
    workflow.transcript = other
    assert await load(cache, other) == other.messages
    shorter = Transcript([message(5)])
    workflow.transcript = shorter
    assert await load(cache, shorter) == shorter.messages


async def test_a_cursor_that_the_workflow_cannot_match_is_an_error_not_a_guess(workflow):
    cache = Conversations()
    workflow.transcript.append(message(0))
    with pytest.raises(ApplicationError, match="not the one"):
        await cache.load(KEY, Cursor(count=1, head="f" * 32), (), ())
    with pytest.raises(ApplicationError, match="not the one"):
        await cache.load(KEY, Cursor(count=9, head="f" * 32), (), ())


async def test_an_earlier_cursor_of_the_same_transcript_is_served_from_memory(workflow):
    cache, transcript = Conversations(), workflow.transcript
    transcript.append(message(0))
    early = transcript.cursor
    transcript.append(message(1))
    await load(cache, transcript)
    items = await cache.load(KEY, early, (), ())
    assert [item.message for item in items] == transcript.messages[:1]
    assert workflow.asked == [0]


async def test_memory_is_bounded_in_bytes(workflow):
    cache = Conversations(transcript_bytes=20_000, produced_bytes=5_000)
    for n in range(50):
        transcript = workflow.transcript = Transcript([message(n, 1_000), message(n + 100, 1_000)])
        key = RunKey(run_id=f"r{n}", workflow_run_id="w")
        assert await load(cache, transcript, key=key) == transcript.messages
    assert sum(copy.bytes for copy in cache._copies.values()) <= 20_000
    assert sum(size for _, size in cache._produced.values()) <= 5_000


async def test_a_message_waits_once_and_not_beside_the_conversation_that_has_it(workflow):
    cache, transcript = Conversations(), workflow.transcript
    for n in range(3):
        transcript.append(message(n))
    cache.remember(KEY, message(1))
    assert await load(cache, transcript) == transcript.messages  # read back
    transcript.append(message(3))
    cache.remember(KEY, message(3))
    assert await load(cache, transcript, tail=transcript.digests[-1:]) == transcript.messages
    assert (cache.hits, cache.misses) == (1, 1)
    assert cache._produced == {}
    assert cache._produced_room == PRODUCED_BYTES


async def test_runs_that_say_the_same_do_not_take_each_others_messages(workflow):
    """Many runs of one kind at once: their first messages, and often their results, are alike."""
    cache, transcript = Conversations(), workflow.transcript
    runs = [RunKey(run_id=f"r{n}", workflow_run_id="w") for n in range(3)]
    for n in range(4):
        transcript.append(message(n))
        for key in runs:
            cache.remember(key, message(n))
        for key in runs:
            found = await load(cache, transcript, tail=transcript.digests[-1:], key=key)
            assert found == transcript.messages
    assert (cache.hits, cache.misses) == (12, 0)
    assert cache._produced == {}


async def test_a_conversation_larger_than_the_bound_still_works(workflow):
    cache = Conversations(transcript_bytes=1_000, produced_bytes=1_000)
    workflow.transcript = Transcript([message(n, 5_000) for n in range(8)])
    assert await load(cache, workflow.transcript) == workflow.transcript.messages


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_forgotten_the_conversation_is_the_workflows(data):
    """Any mix of what was made here, elsewhere, evicted or cut: the answer is exact."""
    import asyncio

    async def run():
        workflow = Workflow(Transcript())
        original = conversation._query
        conversation._query = workflow.query
        try:
            cache = Conversations(produced_bytes=data.draw(st.sampled_from([100, 100_000])))
            sent = 0
            for n in range(data.draw(st.integers(1, 12))):
                made = message(n, data.draw(st.integers(0, 200)))
                if data.draw(st.booleans()):
                    cache.remember(KEY, made)
                workflow.transcript.append(made)
                if data.draw(st.booleans()):
                    tail = workflow.transcript.digests[sent:]
                    sent = len(workflow.transcript)
                    got = await load(cache, workflow.transcript, tail=tail)
                    assert got == workflow.transcript.messages
                if data.draw(st.integers(0, 9)) == 0:
                    cache._copies.clear()
        finally:
            conversation._query = original

    asyncio.run(run())


async def test_a_plan_is_asked_for_once(monkeypatch):
    plan = RunPlan(
        agent_id="a",
        agent_name="a",
        targets=(ModelTarget(spec="p/m", context_window=10),),
        bounds=Defaults(),
    )
    asked = []

    async def query(name, argument, kind):
        asked.append(name)
        return plan

    monkeypatch.setattr(conversation, "_query", query)
    cache = Conversations()
    cache.remember_plan(plan)
    (name,) = cache._plans
    fresh = Conversations()
    assert await fresh.plan(name) == plan
    assert await fresh.plan(name) == plan
    assert asked == ["plan"]
    with pytest.raises(ApplicationError, match="plan"):
        await fresh.plan("f" * 32)
