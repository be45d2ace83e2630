"""The kit for tests of your own agents, used as its docstring says."""

import itertools
import random

import pytest
from temporalio import workflow

from executus import Defaults, Invocation, Reason, RunnableAgent, RunRequest, Status
from executus import testing as kit
from executus.errors import MissingExtra
from executus.models.scripted import call, hang, say
from executus.plugin import ExecutusPlugin
from executus.testing import AgentEnvironment, scripted
from executus.tools import tool
from executus.workflows import loop

EDITOR = RunnableAgent(name="editor", tools=("word_count",), max_iterations=40)


@tool(effect="pure")
def word_count(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


def host(models, **options) -> ExecutusPlugin:
    return ExecutusPlugin(agents=[EDITOR], tools=[word_count], models=models, **options)


async def test_a_run_brings_its_result_and_its_activities():
    plugin = host(scripted([call("word_count", text="a b c"), say("Three.")]))
    async with AgentEnvironment.start(plugin) as env:
        done = await env.run("editor", "How long is 'a b c'?", caller_id="ann")
    assert (done.result.status, done.result.output) == (Status.OK, "Three.")
    model, count = "executus.model", "tool.word_count"
    assert done.activities == ["executus.resolve", model, count, model]


async def test_a_person_who_never_answers_takes_no_time(server):
    asks = RunnableAgent(name="asks", tools=("ask_human",), max_runtime=86_400.0)
    plugin = host(scripted([call("ask_human", question="Really?"), say("Nobody.")]))
    async with AgentEnvironment.start(plugin, server=server) as env:
        done = await env.run(asks, "go")
    assert done.result.output == "Nobody."
    assert (done.result.ended_at - done.result.started_at).total_seconds() >= 3_600


async def test_a_run_that_was_started_otherwise_is_taken_up(server):
    plugin = host(scripted(own=[hang()]))
    agent = EDITOR.model_copy(update={"model_tier": "own"})
    async with AgentEnvironment.start(plugin, server=server, max_cached_workflows=0) as env:
        request = RunRequest(agent=agent, invocation=Invocation(prompt="go", run_id="kit-1"))
        handle = await env.runs.start(request)
        await env.runs.cancel(handle.id, "enough")
        done = await env.finished(handle.id)
    assert done.result.reason is Reason.CANCEL_SIGNAL


async def test_a_long_run_is_one_run(server):
    def count(request):
        done = sum(len(m.message.tool_calls) for m in request.messages)
        return call("word_count", text=str(done)) if done < 12 else say("done")

    plugin = host(scripted(count), defaults=Defaults(history_events=60))
    async with AgentEnvironment.start(plugin, server=server) as env:
        done = await env.run("editor", "count")
    assert done.result.output == "done"
    assert len(done.histories) > 1
    assert done.activities.count("tool.word_count") == 12


async def test_what_does_not_replay_fails_the_test(server, monkeypatch):
    ticks = itertools.count()

    async def erratic(self, *, closing=False):
        if next(ticks) == 0:
            await workflow.sleep(random.random())  # noqa: S311
        return await turn(self, closing=closing)

    turn = loop.AgentLoop._model_turn
    monkeypatch.setattr(loop.AgentLoop, "_model_turn", erratic)
    async with AgentEnvironment.start(host(scripted([say("hi")])), server=server) as env:
        with pytest.raises(workflow.NondeterminismError):
            await env.run("editor", "hello")


async def test_a_script_that_is_over_says_so(server):
    async with AgentEnvironment.start(host(scripted()), server=server) as env:
        done = await env.run("editor", "hello")
    assert done.result.status is Status.ERROR
    assert "script" in done.result.error


async def test_without_the_command_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(kit, "find_program", lambda: None)
    with pytest.raises(MissingExtra, match=r'pip install "executus\[server\]"'):
        async with kit.time_skipping_server():
            pass
