"""Phases over the pure loop, without a server: seed.md sections 19, 22 and 23."""

import asyncio

import pytest
from pydantic import ValidationError

from executus.agent import RunnableAgent
from executus.data import json_bytes
from executus.errors import RunError
from executus.message import Message, TextPart
from executus.phase import Phase
from executus.sanitize import cap_text
from executus.status import Reason, Status
from executus.template import TemplateError, fill, names
from executus.transcript import Transcript, view
from executus.workflows.compaction import plan_fold
from executus.workflows.handover import shown
from executus.workflows.phase_plan import output_share, phase_plan
from executus.workflows.pipeline import PhaseOver
from executus.workflows.salvage import SALVAGE_BYTES, salvage, tail

from .fakes import (
    FakeEngine,
    assert_well_formed,
    call,
    failed,
    ok,
    phases_of,
    pipeline,
    run_phases,
    say,
)

DOWN = RunError(Status.ERROR, Reason.MODEL_UNAVAILABLE, "no model answered")
LONG = "What was found: " + "the third invoice is missing. " * 3


def texts(step: dict) -> list[str]:
    return [message.text for message in step["shown"]]


def events(engine: FakeEngine, name: str) -> list[str]:
    return [event.summary for event in engine.ledger.events if event.name == name]


# -- one after the other ---------------------------------------------------------------------------


async def test_a_pipeline_of_five_with_a_failed_optional_one_ends_ok():
    engine = FakeEngine([say("p"), say("q"), DOWN, say("s"), say("the report")])
    made = phases_of(
        Phase(name="Plan"),
        Phase(name="Search", system_prompt="Plan: {{Plan}}"),
        Phase(name="Check", optional=True, fallback="nobody checked"),
        Phase(name="Sum", system_prompt="{{Search}}; {{Check}}"),
        Phase(name="Write", system_prompt="{{Query}} from {{Sum}}"),
    )
    ending = await run_phases(engine, made, "how much?")
    assert (ending.status, ending.reason, ending.output) == (Status.OK, Reason.ANSWER, "the report")
    prompts = [step["plan"].system_prompt for step in engine.model_steps]
    assert prompts == ["", "Plan: p", "", "q; nobody checked", "how much? from s"]
    assert engine.progress.outputs == ["p", "q", "nobody checked", "s"]
    assert len(events(engine, "phase_started")) == 5
    assert events(engine, "phase_failed") == [
        "phase `Check`: no model answered; its fallback is used"
    ]


async def test_each_phase_begins_with_a_fresh_conversation_and_the_record_keeps_all():
    engine = FakeEngine([call("t", text="looking"), say("one"), say("two")])
    await run_phases(engine, phases_of(Phase(name="A"), Phase(name="B")), "the question")
    assert texts(engine.model_steps[0]) == ["the question"]
    second = texts(engine.model_steps[2])
    assert second[0] == "the question"
    assert second[1].startswith("[executus] Phase `B` begins (2 of 2).")
    assert len(second) == 2
    said = [message.text for message in engine.transcript.messages]
    assert {"the question", "looking", "one", "two"} <= set(said)
    assert_well_formed(engine.transcript.messages)


async def test_step_ids_are_unique_over_phases_and_the_limit_is_each_phases_own():
    engine = FakeEngine([call("t"), say("a"), call("t"), call("t"), say("b")])
    made = phases_of(
        Phase(name="A", max_iterations=2), Phase(name="B", max_iterations=3), max_iterations=1
    )
    ending = await run_phases(engine, made)
    assert ending.status is Status.OK
    assert [step["id"] for step in engine.model_steps] == ["m1", "m2", "m3", "m4", "m5"]
    assert [step.phase for step in engine.ledger.steps] == ["A", "A", "B", "B", "B"]


async def test_a_phase_has_its_own_tools_and_targets():
    engine = FakeEngine([say("a"), say("b")])
    made = phases_of(Phase(name="A", tools=("u",)), Phase(name="B"), tools=("t", "u"))
    await run_phases(engine, made)
    granted = [[tool.name for tool in step["plan"].tools] for step in engine.model_steps]
    assert granted == [["u"], ["t", "u"]]


async def test_the_runs_own_prompt_stands_above_each_phases():
    engine = FakeEngine([say("a"), say("b")])
    made = phases_of(Phase(name="A", system_prompt="first"), Phase(name="B"), header="house rules")
    await run_phases(engine, made)
    prompts = [step["plan"].system_prompt for step in engine.model_steps]
    assert prompts == ["house rules\n\nfirst", "house rules"]


async def test_two_phases_of_one_name_both_run_fresh():
    engine = FakeEngine([say("first"), say("second"), say("done")])
    look = Phase(name="Look")
    made = phases_of(look, look, Phase(name="End", system_prompt="{{Look}}"))
    await run_phases(engine, made)
    assert len(engine.model_steps) == 3
    assert len(engine.model_steps[1]["shown"]) == 2, "the second one sees nothing of the first"
    assert engine.model_steps[2]["plan"].system_prompt == "second"


async def test_guards_and_blanks_begin_anew_in_each_phase():
    engine = FakeEngine(
        [call("t"), call("t"), say("a"), call("t"), call("t"), say("b")],
        tool=lambda item, n: ok(item, "same"),
    )
    ending = await run_phases(engine, phases_of(Phase(name="A"), Phase(name="B")))
    assert ending.status is Status.OK


async def test_a_weak_answer_never_borrows_another_phases_words():
    engine = FakeEngine([say(LONG), say("as I already answered above")])
    ending = await run_phases(engine, phases_of(Phase(name="A"), Phase(name="B")))
    assert ending.output == "as I already answered above"


async def test_steer_reaches_the_phase_that_runs():
    engine = FakeEngine([say("a"), say("b")])
    engine.script[0] = lambda e: (e.steer.put("look left"), DOWN)[1]
    made = phases_of(Phase(name="A", optional=True), Phase(name="B"))
    await run_phases(engine, made)
    assert texts(engine.model_steps[1])[-1] == "look left"


# -- bare ------------------------------------------------------------------------------------------


async def test_a_bare_phase_is_one_call_without_tools_that_counts_as_activity_and_usage():
    engine = FakeEngine([say("in short", tokens=7), say("end", tokens=5)])
    ending = await run_phases(engine, phases_of(Phase(name="Short", bare=True), Phase(name="End")))
    assert ending.status is Status.OK
    assert engine.model_steps[0]["plan"].tools == ()
    assert engine.ledger.usage.model_calls == 2
    assert engine.ledger.usage.total_tokens == 24
    assert engine.ledger.steps[0].phase == "Short"


async def test_a_bare_phase_never_takes_a_second_call():
    engine = FakeEngine([call("t"), say("never")])
    ending = await run_phases(engine, phases_of(Phase(name="Short", bare=True)))
    assert (ending.status, ending.reason) == (Status.ERROR, Reason.MAX_ITERATIONS)
    assert len(engine.model_steps) == 1
    assert engine.calls == []


# -- what goes wrong -------------------------------------------------------------------------------


async def test_a_required_phase_that_fails_ends_the_run_with_what_there_is():
    engine = FakeEngine([say(LONG), DOWN])
    ending = await run_phases(engine, phases_of(Phase(name="A"), Phase(name="B"), Phase(name="C")))
    assert (ending.status, ending.reason) == (Status.ERROR, Reason.MODEL_UNAVAILABLE)
    assert ending.error == "phase `B`: no model answered"
    assert ending.output == LONG
    assert len(engine.model_steps) == 2


async def test_usage_is_kept_on_a_hard_error():
    engine = FakeEngine([say("a", tokens=100), call("t", tokens=50), DOWN])
    ending = await run_phases(engine, phases_of(Phase(name="A"), Phase(name="B")))
    assert ending.status is Status.ERROR
    assert engine.ledger.usage.total_tokens == 300


async def test_a_required_phase_out_of_iterations_leaves_its_closing_answer():
    engine = FakeEngine([call("t"), say("what I have so far"), say("done")])
    made = phases_of(Phase(name="A", max_iterations=1), Phase(name="B", system_prompt="from {{A}}"))
    ending = await run_phases(engine, made)
    assert (ending.status, ending.output) == (Status.OK, "done")
    assert engine.model_steps[2]["plan"].system_prompt == "from what I have so far"
    assert len(events(engine, "phase_failed")) == 1


async def test_a_required_phase_out_of_tool_budget_leaves_its_tail():
    engine = FakeEngine(
        [call("t"), call("t"), call("t"), say("done")], tool=lambda c, n: ok(c, "42 files")
    )
    made = phases_of(Phase(name="A"), Phase(name="B", system_prompt="{{A}}"))
    ending = await run_phases(engine, made)
    assert ending.status is Status.OK
    prompt = engine.model_steps[-1]["plan"].system_prompt
    assert prompt.startswith("[phase `A` stopped before its end: `t` was called 3 times")
    assert "[t: ok] 42 files" in prompt


async def test_a_last_phase_out_of_iterations_is_no_success_and_keeps_its_work():
    engine = FakeEngine([say("a"), call("t"), say("half of it")])
    made = phases_of(Phase(name="A"), Phase(name="B", max_iterations=1))
    ending = await run_phases(engine, made)
    assert (ending.status, ending.reason) == (Status.ERROR, Reason.MAX_ITERATIONS)
    assert ending.output == "half of it"


async def test_an_optional_phase_without_a_fallback_says_that_it_failed():
    engine = FakeEngine([DOWN, say("done")])
    made = phases_of(Phase(name="A", optional=True), Phase(name="B", system_prompt="{{A}}"))
    await run_phases(engine, made)
    prompt = engine.model_steps[1]["plan"].system_prompt
    assert prompt == "[phase `A` failed (model_unavailable) and has no output]"


async def test_the_fallback_of_an_optional_last_phase_is_the_output():
    engine = FakeEngine([say("a"), DOWN])
    made = phases_of(Phase(name="A"), Phase(name="B", optional=True, fallback="no polish today"))
    ending = await run_phases(engine, made)
    assert (ending.status, ending.output) == (Status.OK, "no polish today")


async def test_an_optional_phase_that_exhausts_itself_gives_its_fallback():
    engine = FakeEngine([call("t"), call("t"), call("t"), say("done")], tool=failed)
    made = phases_of(
        Phase(name="A", optional=True, fallback="nothing"), Phase(name="B", system_prompt="{{A}}")
    )
    await run_phases(engine, made)
    assert engine.model_steps[-1]["plan"].system_prompt == "nothing"


# -- stop means stop -------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [True, False])
async def test_an_optional_phase_does_not_mask_a_cancel(last):
    def stop(engine):
        engine.stopping = True
        return say("never")

    engine = FakeEngine([say("a"), stop, say("never")])
    after = () if last else (Phase(name="C"),)
    made = phases_of(Phase(name="A"), Phase(name="B", optional=True, fallback="x"), *after)
    with pytest.raises(asyncio.CancelledError):
        await run_phases(engine, made)
    assert len(engine.model_steps) == 2


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (Status.TIMEOUT, Reason.DEADLINE),
        (Status.KILLED, Reason.CRITIC),
        (Status.BUDGET_EXCEEDED, Reason.BUDGET_REJECTED),
        (Status.BUDGET_EXCEEDED, Reason.TOKEN_LIMIT),
    ],
)
async def test_an_optional_last_phase_does_not_mask_a_kill_a_timeout_or_a_limit(status, reason):
    engine = FakeEngine([say("a"), RunError(status, reason, "stop")])
    made = phases_of(Phase(name="A"), Phase(name="B", optional=True, fallback="x"))
    ending = await run_phases(engine, made)
    assert (ending.status, ending.reason, ending.error) == (status, reason, "phase `B`: stop")
    assert ending.output == "a"


async def test_a_phases_own_time_is_passed_over_only_where_it_is_optional():
    for optional in (True, False):
        engine = FakeEngine([call("t", text=LONG), PhaseOver(), say("done")])
        made = phases_of(Phase(name="A", max_runtime=5, optional=optional), Phase(name="B"))
        ending = await run_phases(engine, made)
        if optional:
            assert (ending.status, ending.output) == (Status.OK, "done")
        else:
            assert (ending.status, ending.reason) == (Status.TIMEOUT, Reason.DEADLINE)
            assert ending.error == "phase `A`: its 5 s are used"
            assert ending.output == LONG


# -- continue-as-new -------------------------------------------------------------------------------


async def test_a_full_history_hands_over_inside_a_phase_and_the_next_goes_on():
    made = phases_of(Phase(name="A"), Phase(name="B", system_prompt="{{A}}", max_iterations=3))
    engine = FakeEngine([say("a"), lambda e: (setattr(e, "full", True), call("t"))[1]])
    assert await run_phases(engine, made) is None
    carried = engine.progress
    assert (carried.index, carried.opened, carried.began, carried.outputs) == (1, True, 1, ["a"])
    after = FakeEngine([call("t"), say("b")], transcript=Transcript(shown(engine.transcript)))
    again = pipeline(after, made, carried)

    def take_up(loop):
        loop.iteration = 2

    ending = await again.run(take_up)
    assert (ending.status, ending.output) == (Status.OK, "b")
    assert [step["id"] for step in after.model_steps] == ["m3", "m4"]
    assert after.model_steps[0]["plan"] == engine.model_steps[1]["plan"], "one digest, both sides"
    assert texts(after.model_steps[0])[:2] == texts(engine.model_steps[1])
    assert events(after, "phase_started") == []


def test_a_phase_that_was_carried_shows_the_same_messages():
    said = [Message.user("q"), *(Message.user(f"{n}") for n in range(5))]
    transcript = Transcript(said)
    engine = FakeEngine([], transcript=transcript)
    flow = pipeline(engine, phases_of(Phase(name="A"), Phase(name="B")))
    engine.progress.index = 1
    flow._open(None)
    transcript.append(Message.user("own"))
    before = [transcript.messages[i].text for i in view(transcript.messages)]
    again = Transcript(shown(transcript))
    assert [again.messages[i].text for i in view(again.messages)] == before
    assert before[0] == "q"
    assert before[-1] == "own"
    assert len(before) == 3


async def test_compaction_in_a_later_phase_keeps_the_opening_and_folds_only_its_own():
    long = "x" * 3_000
    script = [say("a"), *[call("t", tokens=0) for _ in range(12)], say("b")]
    summary = Message(role="summary", parts=(TextPart(text="short"),))
    engine = FakeEngine(
        script,
        tool=lambda c, n: ok(c, f"{n}{long}"),
        summary=lambda fold: summary.model_copy(update={"fold": fold}),
    )
    made = phases_of(Phase(name="A"), Phase(name="B"), window=10_000, max_iterations=30)
    ending = await run_phases(engine, made, "the question")
    assert ending.status is Status.OK
    assert engine.folds
    assert all(fold.start == 1 for fold in engine.folds)
    for step in engine.model_steps:
        assert texts(step)[0] == "the question"


def test_an_opening_that_a_later_phase_needs_is_never_folded():
    messages = [Message.user("q" * 9_000), *(Message.user("m") for _ in range(20))]
    assert plan_fold(messages, 1_000).start == 0
    assert plan_fold(messages, 1_000, keep_opening=True).start == 1


# -- salvage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(SALVAGE_BYTES - 5, SALVAGE_BYTES + 5))
def test_salvage_cuts_no_character(size):
    message = Message(role="assistant", parts=(TextPart(text="é€😀" * size),))
    kept = tail([message])
    assert len(kept.encode()) <= SALVAGE_BYTES
    assert "\N{REPLACEMENT CHARACTER}" not in kept
    assert kept in message.text


def test_salvage_is_bounded_and_shows_no_arguments():
    said = [call("t", text=f"step {n}", args='{"token":"secret"}').message for n in range(50)]
    text = salvage("A", "why", said)
    assert len(text.encode()) < SALVAGE_BYTES + 200
    assert "secret" not in text
    assert text.endswith("step 49")
    assert "(nothing)" in salvage("A", "why", [])


# -- templates -------------------------------------------------------------------------------------


def test_a_template_takes_both_ways_of_writing_a_name():
    text = "{{Query}} {{.Query}} {{ A }} {{ .A }} {{{{Query}} {x} }}"
    assert fill(text, {"Query": "q", "A": "a"}) == "q q a a {{Query}} {x} }}"
    assert names(text) == ("Query", "Query", "A", "A")


def test_what_is_put_in_is_not_a_template():
    assert fill("{{A}}", {"A": "{{Query}}", "Query": "no"}) == "{{Query}}"


@pytest.mark.parametrize(
    "text", ["{{", "{{}}", "{{a b}}", "{{#if A}}", "{{A", "{{{A}}}", "{{..A}}"]
)
def test_a_bad_template_is_refused(text):
    with pytest.raises(TemplateError, match="is no placeholder"):
        names(text)
    with pytest.raises(ValidationError, match="is no placeholder"):
        Phase(name="A", system_prompt=text)


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([{"name": "A", "system_prompt": "{{B}}"}, {"name": "B"}], "known here; known: Query"),
        ([{"name": "A", "system_prompt": "{{A}}"}], "is not known here"),
        ([{"name": "a b"}], "should match pattern"),
        ([{"name": "query"}], "cannot be called query"),
        ([{"name": "A", "fallback": "x"}], "fallback is for an optional phase"),
        ([{"name": "A", "bare": True, "tools": ["t"]}], "bare phase is one call"),
        ([{"name": "A"}] * 21, "at most 20"),
    ],
)
def test_phases_that_cannot_be_are_refused_when_the_agent_is_made(phases, message):
    with pytest.raises(ValidationError, match=message):
        RunnableAgent.model_validate({"name": "a", "phases": phases})


def test_an_optional_last_phase_and_an_output_schema_exclude_each_other():
    with pytest.raises(ValidationError, match="last one and optional"):
        RunnableAgent(
            name="a", phases=(Phase(name="A", optional=True),), output_schema={"type": "object"}
        )


# -- sizes -----------------------------------------------------------------------------------------


async def test_a_long_output_is_cut_to_its_share_before_it_is_kept():
    engine = FakeEngine([say("o" * 200_000), say("done")])
    made = phases_of(Phase(name="A"), Phase(name="B", system_prompt="{{A}}"))
    await run_phases(engine, made)
    (kept,) = engine.progress.outputs
    assert kept == cap_text("o" * 200_000, output_share(2)).text
    assert engine.model_steps[1]["plan"].system_prompt == kept


async def test_what_grows_in_json_is_kept_as_twice_its_share_at_most():
    engine = FakeEngine([say("\x01" * 60_000), say("done")])
    await run_phases(engine, phases_of(Phase(name="A"), Phase(name="B")))
    (kept,) = engine.progress.outputs
    assert json_bytes(kept) <= 2 * output_share(2)


@pytest.mark.parametrize("nasty", ["漢" * 20_000, "\x01" * 60_000], ids=["chinese", "escaped"])
def test_a_prompt_that_mentions_much_stays_a_plan_that_can_be_queried(nasty):
    made = phases_of(*(Phase(name=f"P{n}") for n in range(4)), Phase(name="End"))
    many = " ".join(f"{{{{P{n % 4}}}}}" for n in range(40))
    end = made.phases[-1].model_copy(update={"system_prompt": many})
    made = made.model_copy(
        update={"phases": (*made.phases[:-1], end), "system_prompt": "漢" * 240_000}
    )
    filled = phase_plan(made, 4, nasty, [nasty] * 4)
    assert json_bytes(filled) <= 900_000
    assert filled.system_prompt.count("bytes cut") == 40
