"""People decide: tool calls that wait for a yes, and questions that an agent asks."""

import asyncio

import pytest
from temporalio import workflow
from temporalio.client import Client

from executus import Reason, RunnableAgent, Status
from executus.cli.app import invoke
from executus.cli.follow import Follower
from executus.cli.live import View
from executus.digest import digest
from executus.errors import UserError
from executus.limits import Defaults
from executus.models.scripted import call, calls, say
from executus.question import Answer, ApprovalRule, Decision
from executus.tools import tool
from executus.transcript import TranscriptPage
from executus.workflows.clock import Clock

from .kit import assert_closed_once, kit
from .test_delegation import steps_of

SENT: list[str] = []


@tool(requires_approval=True)
async def send(to: str) -> str:
    """Send a message."""
    SENT.append(to)
    return f"sent to {to}"


@tool(effect="pure")
async def read(path: str) -> str:
    """Read a file."""
    return f"content of {path}"


@tool(effect="pure")
async def hold() -> str:
    """Take long."""
    await asyncio.sleep(600)
    return "never"


@tool(requires_approval=True)
async def connect(user: str, api_key: str) -> str:
    """Connect."""
    SENT.append(api_key)
    return f"{user} is in"


@tool(requires_approval=True, secret_arguments=True)
async def login(password: str) -> str:
    """Log in."""
    return f"in with {len(password)} characters"


@tool(effect="pure")
async def walk(path: str, root: str = "/etc", follow: bool = False) -> str:
    """List a folder."""
    return f"{root}/{path} {follow}"


TOOLS = [send, read, login]
NAMES = ("send", "read", "login")


@pytest.fixture(autouse=True)
def nothing_sent():
    SENT.clear()


@pytest.fixture
async def real_time(env) -> Client:
    """A client whose runs live in real time: an idle one would be at its deadline at once."""
    return await Client.connect(env.client.service_client.config.target_host)


async def asked(k, run_id: str, count: int = 1):
    while True:
        state = await k.runs.state(run_id)
        if len(state.questions) >= count:
            assert state.stage == "paused"
            return list(state.questions)
        await asyncio.sleep(0.02)


def yes(question, **fields) -> Decision:
    return Decision(
        **{"step_id": question.step_id, "digest": question.digest, "by": "bob", **fields}
    )


async def events(k, run_id: str) -> dict[str, dict]:
    return {row.name: row.body for row in await k.audit.rows(run_id) if row.kind == "event"}


async def test_an_approved_call_is_made_once_and_the_record_says_by_whom(env, real_time):
    async with kit(env, tools=TOOLS, client=real_time) as k:
        handle = await k.start([call("send", to="eve"), say("done")], tools=NAMES)
        (question,) = await asked(k, handle.id)
        assert (question.kind, question.tool, question.arguments) == (
            "approval",
            "send",
            '{"to": "eve"}',
        )
        assert SENT == []
        await k.runs.approve(handle.id, yes(question, note="fine"))
        out = await k.outcome(handle.id)
        assert (out.result.status, SENT) == (Status.OK, ["eve"])
        assert out.activities == [
            "executus.resolve",
            "executus.budget.check",
            "executus.audit.start",
            "executus.model",
            "tool.send",
            "executus.model",
            "executus.budget.commit",
            "executus.audit.close",
        ]
        await assert_closed_once(k, out)
        said = str((await events(k, handle.id))["approved"])
        assert all(text in said for text in ("bob", "fine", question.digest)), said


async def test_a_denied_call_is_not_made_and_the_agent_is_told_why(env, real_time):
    async with kit(env, tools=TOOLS, client=real_time) as k:
        heard = []

        def script(request):
            last = request.messages[-1].message.parts[0]
            heard.append(last)
            return say("ok") if len(heard) > 1 else call("send", to="eve")

        handle = await k.start(script, tools=NAMES)
        (question,) = await asked(k, handle.id)
        await k.runs.deny(handle.id, yes(question, note="not eve"))
        out = await k.outcome(handle.id)
        assert (out.result.status, SENT) == (Status.OK, [])
        assert heard[1].outcome == "error"
        assert heard[1].text == "`send` was denied by bob: not eve; nothing ran"
        assert "tool.send" not in out.activities


async def test_what_a_person_says_is_cleaned_before_the_agent_hears_it(env, real_time):
    async with kit(env, tools=TOOLS, client=real_time) as k:
        heard = []

        def script(request):
            heard.append(request.messages[-1].message.parts[0])
            return say("ok") if len(heard) > 1 else call("send", to="eve")

        handle = await k.start(script, tools=NAMES)
        (question,) = await asked(k, handle.id)
        await k.runs.deny(handle.id, yes(question, by="b\x00o\u202eb", note="not\x00 eve"))
        out = await k.outcome(handle.id)
        assert out.result.status is Status.OK
        assert heard[1].text == "`send` was denied by b\ufffdo b: not\ufffd eve; nothing ran"


async def test_silence_is_a_no(env):
    async with kit(env, tools=TOOLS, defaults=Defaults(approval_seconds=20)) as k:
        out = await k.run([call("send", to="eve"), say("without")], tools=NAMES, max_runtime=60)
        assert (out.result.status, out.result.output, SENT) == (Status.OK, "without", [])
        assert "nobody decided in time" in out.result.steps[1].summary
        assert "approval_expired" in await events(k, out.result.run_id)
        await assert_closed_once(k, out)


async def test_a_yes_that_comes_too_late_is_rejected_and_changes_nothing(env, real_time):
    brief = Defaults(approval_seconds=1)
    async with kit(env, tools=TOOLS, client=real_time, defaults=brief) as k:
        ask = call("ask_human", question="And now?")
        handle = await k.start([call("send", to="eve"), ask], tools=(*NAMES, "ask_human"))
        (first,) = await asked(k, handle.id)
        while first.step_id in {q.step_id for q in (await k.runs.state(handle.id)).questions}:
            await asyncio.sleep(0.02)
        with pytest.raises(UserError, match="already settled: nobody answered in time"):
            await k.runs.approve(handle.id, yes(first))
        await k.runs.cancel(handle.id)
        out = await k.outcome(handle.id)
        assert SENT == []
        assert "tool.send" not in out.activities


async def test_the_deadline_rules_over_a_pending_approval(env):
    async with kit(env, tools=TOOLS) as k:
        out = await k.run([call("send", to="eve")], tools=NAMES, max_runtime=30)
        assert (out.result.reason, SENT) == (Reason.DEADLINE, [])
        await assert_closed_once(k, out)


async def test_nothing_begins_between_an_approval_that_expires_and_the_deadline(env, monkeypatch):
    run_out = Clock.run_out

    async def late(clock: Clock) -> None:  # with a timer each, they fire in one task or in two
        await run_out(clock)
        await workflow.sleep(1)

    monkeypatch.setattr(Clock, "run_out", late)
    async with kit(env, tools=TOOLS) as k:
        out = await k.run([call("send", to="eve")], tools=NAMES, max_runtime=30)
        assert (out.result.reason, SENT) == (Reason.DEADLINE, [])
        assert out.activities.count("executus.model") == 1
        assert out.result.steps[-1].id == "m1.t1"
        await assert_closed_once(k, out)


async def test_an_approval_expires_at_its_time_when_the_deadline_moves_out(env, monkeypatch):
    """As a critic moves it, while the question stands: here once the run has come to its end."""
    run_out = Clock.run_out

    async def extended(clock: Clock) -> None:
        await workflow.sleep(20)
        clock.reach(3_600)
        clock.extend(600)
        await run_out(clock)

    monkeypatch.setattr(Clock, "run_out", extended)
    async with kit(env, tools=TOOLS) as k:
        out = await k.run([call("send", to="eve"), say("well")], tools=NAMES, max_runtime=30)
        assert (out.result.output, SENT) == ("well", [])
        assert "nobody decided in time" in out.result.steps[1].summary
        took = out.result.steps[1].ended_at - out.result.steps[1].started_at
        assert 29 < took.total_seconds() < 32


async def test_an_altered_a_replayed_and_a_misdirected_approval_are_rejected(env, real_time):
    async with kit(env, tools=TOOLS, client=real_time) as k:
        script = [call("send", to="eve"), call("send", to="eve"), say("done")]
        handle = await k.start(script, tools=NAMES)
        (first,) = await asked(k, handle.id)
        for given, why in (
            (yes(first, digest=digest(b"another call")), "the digest is another one"),
            (yes(first, step_id="m7.t1"), "waiting: m1.t1"),
        ):
            with pytest.raises(UserError, match=why):
                await k.runs.approve(handle.id, given)
        with pytest.raises(UserError, match="no answer is asked for there"):
            await k.runs.answer(
                handle.id, Answer(**yes(first).model_dump(exclude={"note"}), text="y")
            )
        await k.runs.approve(handle.id, yes(first))
        second = (await asked(k, handle.id))[0]
        assert second.digest != first.digest, "one yes would do for the same call again"
        with pytest.raises(UserError, match="already settled: yes by bob"):
            await k.runs.approve(handle.id, yes(first))
        with pytest.raises(UserError, match="digest is another"):
            await k.runs.approve(handle.id, yes(second, digest=first.digest))
        await k.runs.deny(handle.id, yes(second))
        out = await k.outcome(handle.id)
        assert (out.result.status, SENT) == (Status.OK, ["eve"])
        with pytest.raises(UserError):
            await k.runs.approve(handle.id, yes(second))


async def test_a_rule_asks_for_what_it_names_and_lets_the_rest_run(env, real_time):
    rules = (ApprovalRule(tool="re*", arguments={"path": "/etc/*"}),)
    async with kit(env, tools=TOOLS, client=real_time) as k:
        turn = calls(("read", {"path": "notes/a"}), ("read", {"path": "/etc/passwd"}))
        handle = await k.start([turn, say("done")], tools=NAMES, approvals=rules)
        (question,) = await asked(k, handle.id)
        assert "/etc/passwd" in question.arguments
        await k.runs.approve(handle.id, yes(question))
        out = await k.outcome(handle.id)
        assert [s.status for s in out.result.steps if s.kind == "tool.read"] == ["complete"] * 2


PADDED = "/etc/passwd" + "/" * 3_000 + "shadow"


@pytest.mark.parametrize(
    ("pattern", "arguments"),
    [
        ({"path": "*shadow"}, {"path": PADDED}),
        ({"path": "*shadow*"}, {"path": "x" * 40_000 + "shadow"}),
        ({"root": "/etc"}, {"path": "passwd"}),
        ({"follow": "true"}, {"path": "a", "follow": "yes"}),
        ({"follow": "true"}, {"path": "a", "follow": 1}),
    ],
    ids=["behind padding", "longer than is looked at", "by default", "as a word", "as a number"],
)
async def test_no_way_to_write_an_argument_gets_around_a_rule(env, real_time, pattern, arguments):
    rules = (ApprovalRule(tool="walk", arguments=pattern),)
    async with kit(env, tools=[walk], client=real_time) as k:
        script = [call("walk", path="a", root="/srv"), call("walk", **arguments), say("done")]
        handle = await k.start(script, tools=("walk",), approvals=rules)
        (question,) = await asked(k, handle.id)
        assert question.step_id == "m2.t1", "what the rule does not name was asked for"
        await k.runs.deny(handle.id, yes(question))
        assert "tool.walk" in (await k.outcome(handle.id)).activities


async def test_a_person_sees_every_character_of_what_they_approve(env, real_time):
    hidden = "a\u202egpj.exe\u200b\u009b2J"
    async with kit(env, tools=TOOLS, client=real_time) as k:
        handle = await k.start([call("send", to=hidden), say("done")], tools=NAMES)
        (question,) = await asked(k, handle.id)
        assert question.arguments == '{"to": "a\\u202egpj.exe\\u200b\\u009b2J"}'
        await k.runs.approve(handle.id, yes(question))
        assert (await k.runs.result(handle.id)).status is Status.OK
        assert SENT[0] == hidden


async def test_a_secret_among_arguments_is_in_neither_the_question_nor_the_record(env, real_time):
    async with kit(env, tools=[connect], client=real_time) as k:
        script = [call("connect", user="ann", api_key="hunter2-hunter2"), say("done")]
        handle = await k.start(script, tools=("connect",))
        (question,) = await asked(k, handle.id)
        assert question.arguments == '{"user": "ann", "api_key": "[redacted 15]"}'
        await k.runs.approve(handle.id, yes(question))
        out = await k.outcome(handle.id)
        assert SENT == ["hunter2-hunter2"]
        record = [row.model_dump_json() for row in await k.audit.rows(handle.id)]
        assert [row for row in record if "hunter2" in row] == []
        assert len([row for row in record if "[redacted 15]" in row]) >= 2, "the turn and the call"
        assert out.result.status is Status.OK


async def test_a_secret_that_a_person_says_is_heard_by_the_agent_alone(env, real_time):
    secret = "sk-canary-0123456789abcdefghij"
    heard = []

    def script(request):
        tools = [w.message.parts[0].text for w in request.messages if w.message.role == "tool"]
        if not tools:
            return calls(("ask_human", {"question": "the key?"}), ("send", {"to": "ann"}))
        heard.extend(tools)
        return say("ok")

    async with kit(env, tools=TOOLS, client=real_time) as k:
        handle = await k.start(script, tools=("ask_human", "send"))
        for question in await asked(k, handle.id, 2):
            ids = {"step_id": question.step_id, "digest": question.digest, "by": "bob"}
            if question.kind == "answer":
                await k.runs.answer(handle.id, Answer(text=f"it is {secret}", **ids))
            else:
                await k.runs.deny(handle.id, Decision(note=f"never {secret}", **ids))
        out = await k.outcome(handle.id)
        assert all(secret in text for text in heard)
        assert secret not in out.result.model_dump_json()
        assert secret not in (await k.runs.state(handle.id)).model_dump_json()
        assert not [r for r in await k.audit.rows(handle.id) if secret in str(r.body)]


async def test_secret_arguments_are_shown_to_nobody(env, real_time):
    async with kit(env, tools=TOOLS, client=real_time) as k:
        script = [call("login", password="hunter2 hunter2"), say("done")]
        handle = await k.start(script, tools=NAMES)
        (question,) = await asked(k, handle.id)
        assert "hunter2" not in question.model_dump_json()
        assert question.arguments.startswith("[hidden, ")
        await k.runs.approve(handle.id, yes(question))
        out = await k.outcome(handle.id)
        assert out.result.steps[1].status == "complete"
        record = [row.model_dump_json() for row in await k.audit.rows(handle.id)]
        assert not any("hunter2" in row for row in record if '"tool"' in row)


async def test_a_person_answers_what_the_agent_asks_from_the_given_options(env, real_time):
    async with kit(env, tools=TOOLS, client=real_time) as k:
        ask = call("ask_human", question="Which colour?", options=["red", "blue"])
        heard = []

        def script(request):
            heard.append(request.messages[-1].message.parts[0])
            return ask if len(heard) == 1 else say("painted")

        handle = await k.start(script, tools=("ask_human",))
        (question,) = await asked(k, handle.id)
        assert (question.kind, question.text) == ("answer", "Which colour?")
        given = Answer(step_id=question.step_id, digest=question.digest, by="bob", text="green")
        with pytest.raises(UserError, match="one of: red, blue"):
            await k.runs.answer(handle.id, given)
        with pytest.raises(UserError, match="no approval is asked for"):
            await k.runs.approve(handle.id, yes(question))
        await k.runs.answer(handle.id, given.model_copy(update={"text": "blue"}))
        out = await k.outcome(handle.id)
        assert (heard[1].text, heard[1].outcome) == ("blue", "ok")
        assert out.activities.count("executus.model") == 2
        assert not any(name.startswith("tool.") for name in out.activities)
        await assert_closed_once(k, out)


async def test_a_question_that_nobody_answers_is_told_to_the_agent(env):
    async with kit(env, tools=TOOLS, defaults=Defaults(approval_seconds=20)) as k:
        script = [call("ask_human", question="Well?"), say("went on")]
        out = await k.run(script, tools=("ask_human",))
        assert (out.result.output, out.result.steps[1].status) == ("went on", "error")


async def test_a_stop_while_a_person_is_asked_leaves_nothing_made(env, real_time):
    async with kit(env, tools=TOOLS, client=real_time) as k:
        handle = await k.start([call("send", to="eve")], tools=NAMES)
        await asked(k, handle.id)
        await k.runs.cancel(handle.id, "enough")
        out = await k.outcome(handle.id)
        assert (out.result.status, SENT) == (Status.CANCELLED, [])
        assert "nothing ran" in out.result.steps[1].summary
        with pytest.raises(UserError):
            await k.runs.approve(handle.id, Decision(step_id="m1.t1", digest="x", by="bob"))


async def test_what_decisions_are_answered_with_stays_small_in_history(env, real_time):
    async with kit(env, tools=TOOLS, client=real_time) as k:
        long = [("send", {"to": "x" * 12_000 + str(n)}) for n in range(40)]
        handle = await k.start([calls(*long), say("all sent")], tools=("send",))
        questions = await asked(k, handle.id, 40)
        told = []
        for n in range(0, 40, 8):  # the server takes ten updates of a run at a time
            together = (k.runs.approve(handle.id, yes(q)) for q in questions[n : n + 8])
            told += await asyncio.gather(*together)
        assert max(len(state.model_dump_json()) for state in told) < 70_000
        assert min(len(state.questions) for state in told) == 0
        out = await k.outcome(handle.id)
        assert (out.result.output, len(SENT)) == ("all sent", 40)


async def test_a_stop_while_an_approved_call_waits_its_turn_ends_its_step(env, real_time):
    async with kit(env, tools=[send, hold], client=real_time) as k:
        turn = calls(("hold", {}), ("send", {"to": "ann"}))
        limits = {"parallel_tools": 1}
        handle = await k.start([turn, say("never")], tools=("hold", "send"), limits=limits)
        (question,) = await asked(k, handle.id)
        await k.runs.approve(handle.id, yes(question))
        while (await k.runs.state(handle.id)).stage == "paused":
            await asyncio.sleep(0.02)
        await k.runs.cancel(handle.id)
        out = await k.outcome(handle.id)
        step = out.result.steps[-1]
        assert (step.id, step.status, SENT) == ("m1.t2", "error", [])
        assert step.summary == "stopped before it began; nothing ran"
        (row,) = (r for r in await k.audit.rows(handle.id) if r.name == "send")
        assert row.status == "error"
        await assert_closed_once(k, out)
        page = await handle.query("transcript", 0, result_type=TranscriptPage)
        assert page.messages[-1].parts[0].text == "stopped before it began; nothing ran"


async def test_the_command_line_shows_approves_denies_and_answers(
    env, real_time, monkeypatch, capsys
):
    monkeypatch.setenv("TEMPORAL_ADDRESS", env.client.service_client.config.target_host)

    async def command(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(invoke, list(arguments))
        said = capsys.readouterr()
        return code, said.out + said.err

    async with kit(env, tools=TOOLS, client=real_time) as k:
        turn = calls(
            ("send", {"to": "ann"}), ("send", {"to": "eve"}), ("ask_human", {"question": "Why?"})
        )
        handle = await k.start([turn, say("done")], tools=(*NAMES, "ask_human"))
        await asked(k, handle.id, 3)
        code, out = await command("approve", handle.id, "--list")
        assert code == 0
        assert "m1.t2 waits for approval" in out
        assert '{"to": "eve"}' in out
        assert f"executus answer {handle.id} --step m1.t3 TEXT" in out
        code, out = await command("approve", handle.id)
        assert (code, "name one of m1.t1, m1.t2" in out) == (2, True), out
        code, out = await command("approve", handle.id, "m1.t1", "--note", "x" * 2_001)
        assert (code, "`note`: String should have at most 2000" in out) == (2, True), out
        code, out = await command("answer", handle.id, "")
        assert (code, "'TEXT': it is empty" in out) == (2, True), out
        code, out = await command("approve", handle.id, "m1.t1", "--as", "bob")
        assert (code, "approved m1.t1" in out) == (0, True), out
        code, out = await command("deny", handle.id, "--as", "bob", "--note", "no")
        assert (code, "denied m1.t2" in out) == (0, True), out
        code, out = await command("answer", handle.id, "because", "--as", "bob")
        assert (code, "answered m1.t3" in out) == (0, True), out
        assert (await k.runs.result(handle.id)).status is Status.OK
        assert SENT == ["ann"]
        code, out = await command("deny", handle.id)
        assert (code, f"run `{handle.id}` has ended (ok/answer)" in out) == (2, True), out
        code, out = await command("approve", handle.id, "--list")
        assert (code, "waits for nobody: it has ended (ok/answer)" in out) == (0, True), out


class Notes(View):
    """A view that keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def show(self, state) -> None:
        pass


async def test_whoever_looks_at_a_run_sees_what_its_sub_agents_ask(
    env, real_time, monkeypatch, capsys
):
    monkeypatch.setenv("TEMPORAL_ADDRESS", env.client.service_client.config.target_host)
    leaf = RunnableAgent(name="leaf", model_tier="scripted/leaf", tools=("send",))
    async with kit(env, tools=TOOLS, agents=[leaf], client=real_time) as k:
        k.scripts["leaf"] = [call("send", to="eve"), say("sent")]
        script = [call("agent__leaf", prompt="write to eve"), say("done")]
        handle = await k.start(script, sub_agents=("leaf",))
        child = ""
        while not child:
            steps = (await k.runs.state(handle.id)).steps
            child = next((step.child_run_id for step in steps if step.child_run_id), "")
        await steps_of(k, child, 1)
        (question,) = await asked(k, child)
        assert await asyncio.to_thread(invoke, ["approve", handle.id, "--list"]) == 0
        assert f"executus approve {child} m1.t1" in capsys.readouterr().out
        assert await asyncio.to_thread(invoke, ["approve", handle.id]) == 2
        assert f"executus approve {handle.id} --list" in capsys.readouterr().err
        view = Notes()
        follower = Follower(k.runs, handle.id, view, asyncio.Queue())
        following = asyncio.create_task(follower.wait())
        while len(view.notes) < 2:
            await asyncio.sleep(0.02)
        assert f"executus approve {child} m1.t1" in view.notes[1]
        await k.runs.approve(child, yes(question))
        assert (await following).status is Status.OK
        assert (len(view.notes), SENT) == (2, ["eve"])
