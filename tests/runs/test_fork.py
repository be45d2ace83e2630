"""Forks and checkpoints: a new run from any step of another, and the host's own copies."""

import asyncio
from datetime import UTC, datetime

import pytest
from temporalio.client import Client

from executus import Reason, RunnableAgent, Status
from executus.checkpoint import Checkpoint
from executus.cli.app import invoke
from executus.errors import StoreError, UserError
from executus.limits import Defaults
from executus.models.scripted import call, calls, fail, hang, say
from executus.origin import Origin
from executus.ports import Ports
from executus.stores.blobs import FolderBlobs
from executus.stores.file_store import FileStore
from executus.stores.folder_checkpoints import FolderCheckpoints
from executus.stores.memory import MemoryAudit
from executus.tools import ToolContext, tool

from .kit import assert_closed_once, kit
from .test_long_runs import chain

RAN: list[int] = []


@tool(effect="pure")
async def look(n: int) -> str:
    """Look at something."""
    RAN.append(n)
    return f"seen {n}"


@tool(effect="pure")
async def forever() -> str:
    """Never end."""
    await asyncio.sleep(600)
    return "never"


@tool(effect="pure", image_bytes=1_000)
async def shot(context: ToolContext) -> str:
    """Take a picture."""
    context.attach_image(b"\x89PNG\r\n\x1a\n picture")
    return "taken"


@pytest.fixture(autouse=True)
def nothing_ran():
    RAN.clear()


def looks(k, count: int = 3, then=None):
    """A script that looks `count` times by what it is shown, and says so in the end."""

    def script(request):
        seen = [m.message.parts[0].text for m in request.messages if m.message.role == "tool"]
        if len(seen) < count:
            return call("look", n=len(seen) + 1)
        return then or say(f"{', '.join(seen)}; last: {request.messages[-1].message.role}")

    return script


async def forked(k, run_id: str, step_id: str | None = None, **fields):
    handle = await k.runs.fork(Origin(run_id=run_id, step_id=step_id), **fields)
    return await k.outcome(handle.id)


async def test_a_fork_of_a_failed_run_goes_on_where_it_failed_and_succeeds(env):
    async with kit(env, tools=[look]) as k:
        k.scripts["good"] = looks(k)
        source = await k.run(looks(k, 2, fail("request_rejected", "no")), tools=("look",))
        assert source.result.reason is Reason.REQUEST_REJECTED
        origin = Origin(run_id=source.result.run_id, by="bob")
        handle = await k.runs.fork(origin, model_tier="scripted/good")
        out = await k.outcome(handle.id)
        assert (out.result.status, out.result.output) == (
            Status.OK,
            "seen 1, seen 2, seen 3; last: tool",
        )
        assert RAN == [1, 2, 3], "what had run, ran again"
        assert out.activities == [
            "executus.resolve",
            "executus.budget.check",
            "executus.audit.start",
            "executus.origin",
            "executus.model",
            "tool.look",
            "executus.model",
            "executus.budget.commit",
            "executus.audit.close",
        ]
        await assert_closed_once(k, out)
        (row,) = [r for r in await k.audit.rows(out.result.run_id) if r.name == "forked"]
        assert source.result.run_id in str(row.body)
        assert "bob" in str(row.body)


async def test_a_fork_begins_after_the_step_that_is_named_and_asks_what_it_is_given(env):
    async with kit(env, tools=[look]) as k:
        source = await k.run(looks(k), tools=("look",))
        for step, ran in (("m1", [2, 3]), ("m2.t1", [3])):
            RAN.clear()
            out = await forked(k, source.result.run_id, step)
            assert (out.result.output, RAN) == ("seen 1, seen 2, seen 3; last: tool", ran)
        more = await forked(k, source.result.run_id, prompt="and now?")
        assert more.result.output.endswith("last: user")


async def test_a_finished_run_is_answered_again_only_by_a_fork(env):
    async with kit(env, tools=[look]) as k:
        request = k.request(looks(k), tools=("look",), run_id="done-once")
        await k.runs.run(request)
        again = await k.runs.start(request)
        assert (await k.runs.result(again.id)).run_id == "done-once"
        assert RAN == [1, 2, 3], "a finished run was resumed by accident"
        out = await forked(k, "done-once")
        assert out.result.run_id != "done-once"
        assert out.result.output == "seen 1, seen 2, seen 3; last: tool"


async def test_a_running_run_is_forked_at_its_last_answered_step_and_not_disturbed(env):
    async with kit(env, tools=[look]) as k:
        k.scripts["good"] = looks(k)
        handle = await k.start(looks(k, 2, hang()), tools=("look",))
        while len((await k.runs.state(handle.id)).steps) < 5:
            await asyncio.sleep(0.02)
        out = await forked(k, handle.id, model_tier="scripted/good")
        assert out.result.output.startswith("seen 1, seen 2, seen 3")
        assert (await k.runs.state(handle.id)).stage == "running"
        await k.runs.cancel(handle.id)
        assert (await k.runs.result(handle.id)).status is Status.CANCELLED


@pytest.mark.parametrize("how", ["cancelled", "signalled", "terminated"])
async def test_a_run_that_was_ended_from_outside_is_forked_at_its_last_whole_turn(env, how):
    async with kit(env, tools=[look, forever]) as k:
        k.scripts["good"] = looks(k)
        turn = calls(("look", {"n": 2}), ("forever", {}))
        handle = await k.start([call("look", n=1), turn], tools=("look", "forever"))
        while len((await k.runs.state(handle.id)).steps) < 5:
            await asyncio.sleep(0.02)
        if how == "terminated":
            await handle.terminate("by an operator")
        elif how == "signalled":
            await k.runs.cancel(handle.id)
        else:
            await handle.cancel()
        await k.runs.result(handle.id)
        RAN.clear()
        out = await forked(k, handle.id, model_tier="scripted/good")
        assert out.result.status is Status.OK, out.result.error
        assert out.result.output.startswith("seen 1, "), out.result.output
        assert (await k.runs.result(handle.id)).status is not Status.OK, "its origin was touched"


async def test_a_child_run_is_forked_as_a_run_of_its_own(env):
    leaf = RunnableAgent(name="leaf", model_tier="scripted/leaf", tools=("look",))
    async with kit(env, tools=[look], agents=[leaf]) as k:
        k.scripts |= {"leaf": looks(k, 2, fail("request_rejected", "no")), "good": looks(k)}
        source = await k.run([call("agent__leaf", prompt="look"), say("sad")], sub_agents=("leaf",))
        child = source.result.steps[1].child_run_id
        out = await forked(k, child, model_tier="scripted/good")
        assert out.result.output == "seen 1, seen 2, seen 3; last: tool"
        assert (await k.audit.run(out.result.run_id)).parent_run_id is None


async def test_a_fork_of_a_run_out_of_iterations_is_not_told_that_it_is_out_of_them(env):
    async with kit(env, tools=[look]) as k:
        k.scripts["good"] = looks(k)
        source = await k.run(looks(k), tools=("look",), max_iterations=2)
        assert source.result.reason is Reason.MAX_ITERATIONS
        for step in (None, "m2"):
            RAN.clear()
            more = RunnableAgent(name="x", model_tier="scripted/good", tools=("look",))
            out = await forked(k, source.result.run_id, step, agent=more)
            assert out.result.output == "seen 1, seen 2, seen 3; last: tool", step
            transcript = await k.client.get_workflow_handle(out.result.run_id).query("transcript")
            assert "limit of" not in str(transcript), step
            assert RAN == [2, 3], "what the limit cut off was not made up for"


async def test_a_fork_at_a_step_has_the_images_that_its_calls_attached(env):
    async with kit(env, tools=[shot]) as k:
        k.scripts["seen"] = lambda r: say(str([m.message.role for m in r.messages]))
        source = await k.run([call("shot"), fail("request_rejected", "no")], tools=("shot",))
        out = await forked(k, source.result.run_id, "m1", model_tier="scripted/seen")
        assert out.result.output == "['user', 'assistant', 'tool', 'user']"


async def test_a_fork_runs_on_the_model_and_with_the_priority_of_the_run_it_comes_from(env):
    async with kit(env, tools=[look]) as k:
        k.scripts["good"] = looks(k)
        asked = k.request(lambda _: say("of the agent's own"), tools=("look",))
        first = asked.invocation.model_copy(update={"priority": 2})
        update = {"model_tier": "scripted/good", "invocation": first}
        source = await k.runs.run(asked.model_copy(update=update))
        out = await forked(k, source.run_id, "m1")
        assert out.result.output.startswith("seen 1, seen 2, seen 3")
        started = out.history.events[0].workflow_execution_started_event_attributes
        assert started.priority.priority_key == 2
        other = asked.agent.model_copy(update={"name": "other"})
        own = await forked(k, source.run_id, "m1", agent=other)
        assert own.result.output == "of the agent's own"


async def test_a_fork_reads_a_run_of_several_executions_at_an_early_step(env):
    async with kit(env, tools=[look], defaults=Defaults(history_events=50)) as k:
        source = await k.start(looks(k, 10), tools=("look",), max_iterations=20)
        assert (await k.runs.result(source.id)).status is Status.OK
        assert len(await chain(k, source.id)) > 1
        RAN.clear()
        out = await k.runs.fork(Origin(run_id=source.id, step_id="m2"))
        assert (await k.runs.result(out.id)).status is Status.OK
        assert RAN[0] == 3


async def test_nobody_forks_the_run_of_another_caller(env):
    async with kit(env, tools=[look]) as k:
        source = await k.run(looks(k), tools=("look",))
        out = await forked(k, source.result.run_id, caller_id="mallory")
        assert (out.result.reason, out.result.usage.total_tokens) == (Reason.INVALID_REQUEST, 0)
        assert "knows no run" in out.result.error
        assert "seen" not in out.result.model_dump_json()


@pytest.mark.parametrize(
    ("run_id", "step", "why"),
    [("the-source", "m9", "model turns: m1, m2, m3"), ("nobody", None, "knows no run nobody")],
)
async def test_a_place_that_is_not_there_is_named_with_the_known_ones(env, run_id, step, why):
    async with kit(env, tools=[look]) as k:
        request = k.request(looks(k, 2), tools=("look",), run_id=None)
        source = (await k.runs.run(request)).run_id
        where = source if run_id == "the-source" else run_id
        agent = RunnableAgent(name="x", model_tier=request.agent.model_tier)
        out = await forked(k, where, step, agent=agent, caller_id="ann")
        assert out.result.reason is Reason.INVALID_REQUEST
        assert why in out.result.error


class Copies:
    """A checkpointer that can be down."""

    def __init__(self) -> None:
        self.kept: list[Checkpoint] = []
        self.down = 0

    async def save(self, checkpoint: Checkpoint) -> None:
        if self.down:
            self.down -= 1
            raise StoreError("down")
        self.kept.append(checkpoint)

    async def load(self, run_id: str) -> Checkpoint | None:
        return next((c for c in reversed(self.kept) if c.run_id == run_id), None)


async def test_copies_are_throttled_and_the_last_one_is_kept_in_every_ending(env):
    copies = Copies()
    ports = Ports(audit=MemoryAudit(), checkpointer=copies)
    async with kit(env, tools=[look], ports=ports, defaults=Defaults(checkpoint_seconds=3600)) as k:
        out = await k.run(looks(k, 4), tools=("look",))
        assert [(c.status, c.iteration) for c in copies.kept] == [("running", 1), ("ok", 5)]
        assert copies.kept[-1].messages[-1].text == out.result.output
        assert out.activities.count("executus.checkpoint") == 2
        failed = await k.run([call("look", n=1), fail("request_rejected", "no")], tools=("look",))
        assert copies.kept[-1].run_id == failed.result.run_id
        assert copies.kept[-1].status == "error"


async def test_a_save_that_failed_is_not_throttled_away(env):
    copies = Copies()
    ports = Ports(audit=MemoryAudit(), checkpointer=copies)
    async with kit(env, tools=[look], ports=ports, defaults=Defaults(checkpoint_seconds=3600)) as k:
        copies.down = 3
        out = await k.run(looks(k, 3), tools=("look",))
        assert [(c.status, c.iteration) for c in copies.kept] == [("running", 2), ("ok", 4)]
        assert out.result.status is Status.OK


async def test_a_run_that_temporal_has_forgotten_goes_on_from_its_copy(env, tmp_path):
    folder = FolderCheckpoints(tmp_path / "copies")
    ports = Ports(checkpointer=folder)
    async with kit(env, tools=[look], ports=ports) as k:
        k.scripts["good"] = looks(k)
        source = await k.run(looks(k, 2, fail("request_rejected", "no")), tools=("look",))
        copy = await folder.load(source.result.run_id)
        await folder.save(copy.model_copy(update={"run_id": "forgotten"}))
        agent = RunnableAgent(name="x", model_tier="scripted/good", tools=("look",))
        with pytest.raises(UserError, match="--agent, --caller"):
            await k.runs.fork(Origin(run_id="forgotten"))
        out = await forked(k, "forgotten", agent=agent, caller_id="ann")
        assert out.result.output == "seen 1, seen 2, seen 3; last: tool"
        other = await forked(k, "forgotten", agent=agent, caller_id="mallory")
        assert other.result.reason is Reason.INVALID_REQUEST


async def test_a_copy_is_taken_up_as_the_run_itself_without_an_answer_however_it_was_given(
    env, tmp_path
):
    folder = FolderCheckpoints(tmp_path / "copies")
    async with kit(env, tools=[look], ports=Ports(checkpointer=folder)) as k:
        k.scripts["seen"] = lambda r: call("submit", value=[m.message.role for m in r.messages])
        schema = {"type": "array", "items": {"type": "string"}}
        source = await k.run(
            [call("look", n=1), call("submit", value=["a"])], tools=("look",), output_schema=schema
        )
        assert source.result.structured == ["a"]
        copy = await folder.load(source.result.run_id)
        await folder.save(copy.model_copy(update={"run_id": "gone"}))
        agent = RunnableAgent(name="x", model_tier="scripted/seen", output_schema=schema)
        for run_id in (source.result.run_id, "gone"):
            out = await forked(k, run_id, agent=agent, caller_id="ann")
            assert out.result.structured == ["user", "assistant", "tool"], run_id


def a_copy(run_id: str) -> Checkpoint:
    return Checkpoint(
        run_id=run_id,
        workflow_run_id="w",
        caller_id="ann",
        agent_id="x",
        status="running",
        iteration=2,
        steps_total=3,
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )


async def test_an_older_copy_that_arrives_late_changes_nothing_and_a_broken_one_is_named(tmp_path):
    folder = FolderCheckpoints(tmp_path)
    late = a_copy("a/../b")
    await folder.save(late.model_copy(update={"status": "ok", "iteration": 3}))
    await folder.save(late)
    assert (await folder.load("a/../b")).status == "ok"
    (file,) = tmp_path.iterdir()
    file.write_text("{")
    with pytest.raises(StoreError, match=r"a/\.\./b: not readable"):
        await folder.load("a/../b")


async def test_a_copy_that_does_not_read_is_told_without_its_content_and_replaced(tmp_path):
    folder = FolderCheckpoints(tmp_path)
    copy = a_copy("r")
    await folder.save(copy)
    (file,) = tmp_path.iterdir()
    file.write_text('{"run_id": "r", "messages": ["my card is 4111-1111-1111-1111"]}')
    with pytest.raises(StoreError) as caught:
        await folder.load("r")
    told = str(caught.value)
    assert told.startswith(f"checkpoint of r: not readable (ValidationError): {file} is damaged")
    assert ("4111" in told, "\n" in told) == (False, False)
    await folder.save(copy)
    assert await folder.load("r") == copy


async def test_the_command_line_forks_a_run(env, monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEMPORAL_ADDRESS", env.client.service_client.config.target_host)
    client = await Client.connect(env.client.service_client.config.target_host)
    async with kit(env, tools=[look], client=client) as k:
        source = await k.run(looks(k), tools=("look",))
        run_id = source.result.run_id
        assert await asyncio.to_thread(invoke, ["fork", run_id, "--at", "third"]) == 2
        assert "written m3 or m3.t2" in capfd.readouterr().err
        assert await asyncio.to_thread(invoke, ["fork", run_id, "--id", run_id]) == 2
        assert "a fork is a new run" in capfd.readouterr().err
        assert await asyncio.to_thread(invoke, ["fork", ""]) == 2
        assert "'RUN': it is empty" in capfd.readouterr().err


@tool
async def note(ctx: ToolContext, text: str) -> str:
    """Keep a note."""
    return (await ctx.files.put("note.txt", "text/plain", text.encode())).id


def note_it(text: str):
    """A script that keeps a note, and says its id."""

    def script(request):
        last = request.messages[-1].message
        return call("note", text=text) if last.role == "user" else say(last.parts[0].text)

    return script


def told(request) -> list[str]:
    """What tools returned."""
    return [m.message.parts[0].text for m in request.messages if m.message.role == "tool"]


def read_all(request):
    """Read every note whose id the conversation speaks of, then say them all."""
    ids = [text for text in told(request) if len(text) == 32]
    texts = [text for text in told(request) if len(text) != 32]
    if len(texts) < len(ids):
        return call("read_more", file_id=ids[len(texts)])
    return say(" | ".join(text.splitlines()[-1] for text in texts))


async def test_a_fork_reads_the_files_of_the_run_it_comes_from_and_of_the_one_before(env, tmp_path):
    files = FileStore(FolderBlobs(tmp_path / "files"))
    async with kit(env, tools=[note], files=files) as k:
        k.scripts |= {"second": note_it("two"), "third": read_all}
        first = await k.run(note_it("one"), tools=("note",))
        second = await forked(
            k, first.result.run_id, prompt="and now", model_tier="scripted/second"
        )
        third = await forked(
            k, second.result.run_id, prompt="read them", model_tier="scripted/third"
        )
        assert (third.result.status, third.result.output) == (Status.OK, "one | two")
        assert third.result.files == ()  # it put none itself


async def test_a_forks_sub_agents_read_them_too_also_in_a_later_execution(env, tmp_path):
    def top(request):
        """Look until the run went on in another execution, then hand the note's id down."""
        file_id, *seen = told(request)
        if len(seen) < 10:
            return call("look", n=len(seen))
        return say(seen[-1]) if len(seen) > 10 else call("agent__leaf", prompt=file_id)

    def leaf(request):
        last = request.messages[-1].message
        if last.role == "user":
            return call("read_more", file_id=last.text)
        return say(last.parts[0].text)

    files = FileStore(FolderBlobs(tmp_path / "files"))
    fields = {"max_iterations": 20, "max_runtime": 600}
    agents = [
        RunnableAgent(
            name="top",
            model_tier="scripted/top",
            tools=("look",),
            sub_agents=("leaf",),
            **fields,
        ),
        RunnableAgent(name="leaf", model_tier="scripted/leaf", **fields),
    ]
    brief = Defaults(history_events=50)
    async with kit(env, tools=[note, look], agents=agents, files=files, defaults=brief) as k:
        k.scripts |= {"top": top, "leaf": leaf}
        source = await k.run(note_it("the heron"), tools=("note",))
        fork = await k.runs.fork(Origin(run_id=source.result.run_id), agent="top", prompt="go on")
        result = await k.runs.result(fork.id)
        assert result.status is Status.OK, result.error
        assert result.output.endswith("the heron")
        assert len(await chain(k, fork.id)) > 1
