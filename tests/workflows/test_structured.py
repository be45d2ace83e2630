"""Structured results in the loop: answers, submissions, repairs, and what stands beside them."""

import json

from executus.errors import RunError
from executus.message import Message, ToolCallPart
from executus.phase import Phase
from executus.status import Reason, Status
from executus.submit import Submission
from executus.workflows.loop import AgentLoop

from .fakes import FakeEngine, call, failed, phases_of, plan, reply, run_loop, run_phases, say

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def typed(**bounds):
    return plan(**bounds).model_copy(update={"output_schema": SCHEMA})


def answer(text, invalid=None):
    return say(text).model_copy(update={"valid": invalid is None, "invalid": invalid})


def submit(*results, beside=()):
    """A turn that hands in; a result that is a text is an invalid one. `beside` goes first."""
    calls = [ToolCallPart(id=f"{name}-b{i}", name=name) for i, name in enumerate(beside)]
    found = []
    for i, value in enumerate(results):
        bad = isinstance(value, str)
        arguments = json.dumps({"n": value})
        calls.append(ToolCallPart(id=f"submit-{i}", name="submit", arguments=arguments))
        why = "$.n: is not of type 'integer'" if bad else None
        found.append(Submission(call_id=f"submit-{i}", invalid=why))
    turn = reply(Message(role="assistant", parts=tuple(calls)), "tool_calls", 10)
    return turn.model_copy(update={"submissions": tuple(found)})


def told(engine):
    """Call id -> what the model was told."""
    return {
        m.parts[0].call_id: m.parts[0].text for m in engine.transcript.messages if m.role == "tool"
    }


async def test_a_valid_answer_is_read_from_its_text():
    ending = await run_loop(FakeEngine([answer('```json\n{"n": 1}\n```')]), typed())
    assert (ending.status, ending.structured) == (Status.OK, {"n": 1})


async def test_a_valid_answer_is_never_replaced_by_an_earlier_text():
    long = "This is a long text beside a call, which a weak closing would fall back to."
    text = '{"n": 1, "note": "as mentioned above"}'
    ending = await run_loop(FakeEngine([call("t", text=long), answer(text)]), typed())
    assert (ending.output, ending.structured["n"]) == (text, 1)


async def test_the_first_submission_that_matches_wins_and_all_are_answered():
    engine = FakeEngine([submit("x", 1, 2, beside=["t"])])
    ending = await run_loop(engine, typed())
    assert (ending.status, ending.reason, ending.structured) == (Status.OK, Reason.ANSWER, {"n": 1})
    assert json.loads(ending.output) == {"n": 1}
    answers = told(engine)
    assert answers["t-b0"].startswith("not run")
    assert answers["submit-0"].startswith("not accepted: $.n")
    assert answers["submit-1"].startswith("accepted")
    assert answers["submit-2"].startswith("ignored")
    assert engine.calls == [], "nothing beside it ran"


async def test_beside_an_invalid_submission_the_other_calls_run():
    engine = FakeEngine([submit("x", beside=["t"]), answer('{"n": 1}')])
    ending = await run_loop(engine, typed())
    assert (ending.status, [c.name for c in engine.calls]) == (Status.OK, ["t"])
    assert told(engine)["submit-0"].endswith("Correct it and call `submit` again")


async def test_submissions_and_answers_share_one_bound_of_repairs():
    script = [answer("no", "not JSON"), submit("x"), submit("still")]
    engine = FakeEngine(script)
    ending = await run_loop(engine, typed())
    assert (ending.status, ending.reason) == (Status.ERROR, Reason.INVALID_OUTPUT)
    assert json.loads(ending.output) == {"n": "still"}, "the newest attempt is what there is"
    assert "$.n" in ending.error
    assert not engine.script


async def test_the_bound_of_repairs_is_the_agents():
    engine = FakeEngine([submit("x")])
    ending = await run_loop(engine, typed(output_repairs=0))
    assert ending.reason is Reason.INVALID_OUTPUT
    engine = FakeEngine([*[submit("x") for _ in range(5)], submit(1)])
    ending = await run_loop(engine, typed(output_repairs=5))
    assert ending.structured == {"n": 1}


async def test_a_submission_on_the_last_step_is_a_success():
    engine = FakeEngine([call("t"), submit(1, beside=["t"])])
    ending = await run_loop(engine, typed(max_iterations=2))
    assert (ending.status, ending.structured) == (Status.OK, {"n": 1})


async def test_an_invalid_submission_on_the_last_step_ends_the_run_typed():
    engine = FakeEngine([submit("x", beside=["t"])])
    ending = await run_loop(engine, typed(max_iterations=1))
    assert (ending.reason, engine.calls) == (Reason.INVALID_OUTPUT, [])
    assert told(engine)["t-b0"].startswith("not run")


async def test_the_closing_answer_may_be_a_submission_and_the_reason_stays():
    engine = FakeEngine([call("t"), submit(1)])
    ending = await run_loop(engine, typed(max_iterations=1))
    assert (ending.reason, ending.structured) == (Reason.MAX_ITERATIONS, {"n": 1})
    assert engine.model_steps[-1]["closing"]


async def test_a_closing_answer_that_matches_brings_its_value():
    ending = await run_loop(FakeEngine([call("t"), answer('{"n": 1}')]), typed(max_iterations=1))
    assert (ending.reason, ending.structured) == (Reason.MAX_ITERATIONS, {"n": 1})


async def test_at_a_spending_limit_the_wrap_up_may_be_a_submission():
    denied = RunError(Status.BUDGET_EXCEEDED, Reason.TOKEN_LIMIT, "the limit")
    ending = await run_loop(FakeEngine([denied, submit(1)]), typed(at_limit="wrap_up"))
    assert (ending.status, ending.structured) == (Status.BUDGET_EXCEEDED, {"n": 1})


async def test_who_was_spoken_to_meanwhile_hears_it_before_a_submission_counts():
    def spoken_to(engine):
        engine.steer.put("wait: count again", by="ann")
        return submit(1)

    engine = FakeEngine([spoken_to, submit(2)])
    ending = await run_loop(engine, typed(output_repairs=0))
    assert ending.structured == {"n": 2}
    texts = [m.text for m in engine.model_steps[-1]["shown"]]
    assert any("count again" in text for text in texts)


async def test_submissions_are_no_news_for_the_guards():
    script = [submit("x", beside=["t"]) for _ in range(3)]
    engine = FakeEngine(script, tool=failed)
    ending = await run_loop(engine, typed(tool_errors=2, output_repairs=9))
    assert ending.reason is Reason.TOOL_ERRORS, "an answered submission is no success of a tool"


async def test_calls_beyond_the_limit_may_hold_the_submission():
    engine = FakeEngine([submit("x", beside=["t", "t"]), submit(1, beside=["t", "t", "t"])])
    ending = await run_loop(engine, typed(tool_calls=2))
    assert ending.structured == {"n": 1}
    assert len(engine.calls) == 2


async def test_without_a_schema_submit_is_any_other_name():
    engine = FakeEngine([submit(1), say("done")])
    ending = await run_loop(engine, plan())
    assert ([c.name for c in engine.calls], ending.output) == (["submit"], "done")


async def test_a_cut_reply_hands_nothing_in():
    cut = submit(1).model_copy(update={"stop": "length"})
    ending = await run_loop(FakeEngine([cut, submit(2)]), typed())
    assert ending.structured == {"n": 2}


async def test_only_the_last_phase_has_the_schema_and_its_result_is_the_runs():
    phases = (Phase(name="A"), Phase(name="B", system_prompt="{{A}}", bare=True))
    made = phases_of(*phases).model_copy(update={"output_schema": SCHEMA})
    engine = FakeEngine([say("found"), submit(1)])
    ending = await run_phases(engine, made)
    assert (ending.status, ending.structured) == (Status.OK, {"n": 1})
    first, last = (step["plan"].output_schema for step in engine.model_steps)
    assert (first, last) == (None, SCHEMA)


def test_the_first_call_is_estimated_with_the_schema():
    big = {**SCHEMA, "description": "x" * 4_000}
    sizes = []
    for schema in (None, big):
        made = plan().model_copy(update={"output_schema": schema})
        engine = FakeEngine([])
        engine.transcript.append(Message.user("do it"))
        loop = AgentLoop(made, engine.transcript, engine.ledger, steer=engine.steer, engine=engine)
        sizes.append(loop.dialogue.input_tokens())
    assert sizes[1] - sizes[0] > 900
