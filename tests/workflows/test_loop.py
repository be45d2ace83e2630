"""The pure loop, without a server."""

import asyncio

import pytest

from executus.errors import RunError
from executus.message import Fold, Message, TextPart
from executus.status import Reason, Status
from executus.workflows.allowance import NO_STAKE, Stake

from .fakes import FakeEngine, assert_well_formed, call, failed, ok, plan, run_loop, say


async def test_an_answer_without_tool_calls_ends_the_run_ok():
    engine = FakeEngine([say("42")])
    ending = await run_loop(engine, plan())
    assert (ending.status, ending.reason, ending.output) == (Status.OK, Reason.ANSWER, "42")
    assert len(engine.model_steps) == 1


async def test_an_agent_without_tools_takes_one_model_call():
    engine = FakeEngine([say("hello")])
    ending = await run_loop(engine, plan(tools=()))
    assert ending.output == "hello"
    assert engine.calls == []


async def test_three_tool_turns_and_the_answer_are_four_iterations():
    engine = FakeEngine([call("t"), call("t"), call("t"), say("done")])
    ending = await run_loop(engine, plan(max_iterations=4))
    assert ending.status is Status.OK
    assert engine.loop.iteration == 4


async def test_the_iteration_limit_brings_a_tool_less_closing_answer():
    engine = FakeEngine([call("t"), call("t"), say("what I have")])
    ending = await run_loop(engine, plan(max_iterations=2))
    assert (ending.status, ending.reason) == (Status.ERROR, Reason.MAX_ITERATIONS)
    assert ending.output == "what I have"
    assert [s["closing"] for s in engine.model_steps] == [False, False, True]
    assert len(engine.calls) == 1, "the calls of the last turn do not run: nobody would read them"
    assert_well_formed(engine.transcript.messages)


async def test_one_iteration_that_calls_a_tool_ends_in_max_iterations():
    engine = FakeEngine([call("t"), say("sorry")])
    ending = await run_loop(engine, plan(max_iterations=1))
    assert ending.reason is Reason.MAX_ITERATIONS
    assert engine.calls == []


async def test_a_failing_closing_answer_keeps_the_reason_and_the_partial_text():
    partial = "The first half of the report is this: " + "x" * 40
    down = RunError(Status.ERROR, Reason.MODEL_UNAVAILABLE, "down")
    engine = FakeEngine([call("t", text=partial), down])
    ending = await run_loop(engine, plan(max_iterations=1))
    assert (ending.reason, ending.output) == (Reason.MAX_ITERATIONS, partial)
    assert "down" in ending.error


async def test_all_error_steps_nudge_once_and_then_stop_at_three():
    engine = FakeEngine([call("t", text="hm"), call("t"), call("t")], tool=failed)
    ending = await run_loop(engine, plan())
    assert (ending.status, ending.reason) == (Status.ERROR, Reason.TOOL_ERRORS)
    assert len(engine.model_steps) == 3
    nudges = [m.text for m in engine.transcript.messages if "[executus]" in m.text]
    assert len(nudges) == 1


async def test_one_success_resets_the_error_count():
    def flaky(item, n):
        return ok(item) if n == 2 else failed(item, n)

    engine = FakeEngine([*[call("t") for _ in range(5)], say("ok")], tool=flaky)
    ending = await run_loop(engine, plan(same_tool_calls=0))
    assert ending.status is Status.OK


async def test_a_step_with_one_success_among_errors_is_no_error_step():
    def half(item, n):
        return ok(item, f"{n}") if n % 2 else failed(item, n)

    engine = FakeEngine([*[call("t", "t") for _ in range(6)], say("ok")], tool=half)
    assert (await run_loop(engine, plan())).status is Status.OK


async def test_identical_calls_with_identical_results_stop_at_three():
    engine = FakeEngine([call("t"), call("t"), call("t")], tool=lambda c, n: ok(c, "same"))
    ending = await run_loop(engine, plan())
    assert (ending.status, ending.reason) == (Status.ERROR, Reason.TOOL_LOOP)
    assert len(engine.model_steps) == 3


async def test_polling_is_allowed_while_the_answer_changes():
    engine = FakeEngine([*[call("t") for _ in range(9)], say("ready")])
    assert (await run_loop(engine, plan())).status is Status.OK


async def test_two_calls_that_alternate_without_news_are_a_loop():
    engine = FakeEngine(
        [call("a"), call("b"), call("a"), call("b"), call("a"), call("b")],
        tool=lambda c, n: ok(c, "same"),
    )
    assert (await run_loop(engine, plan(tools=("a", "b")))).reason is Reason.TOOL_LOOP


async def test_news_in_between_forgives_an_old_repeat():
    script = [
        call("a"),
        call("b"),
        call("a"),
        call("c"),
        call("a"),
        call("d"),
        call("a"),
        say("ok"),
    ]
    engine = FakeEngine(script, tool=lambda c, n: ok(c, c.name))
    assert (await run_loop(engine, plan(tools=("a", "b", "c", "d")))).status is Status.OK


async def test_guards_can_be_switched_off():
    engine = FakeEngine([*[call("t") for _ in range(8)], say("ok")], tool=failed)
    bounds = {"tool_errors": 0, "same_tool_calls": 0}
    assert (await run_loop(engine, plan(**bounds))).status is Status.OK


async def test_run_status_is_not_counted_by_the_guards():
    engine = FakeEngine(
        [call("run_status"), call("run_status"), call("run_status"), call("run_status"), say("ok")],
        tool=lambda c, n: ok(c, "same"),
    )
    assert (await run_loop(engine, plan())).status is Status.OK


async def test_what_the_model_said_as_the_run_was_stopped_is_kept():
    def stopped(engine):
        engine.stopping = True
        return call("t", text="The answer is in the last file that I have read.")

    engine = FakeEngine([stopped])
    with pytest.raises(asyncio.CancelledError):
        await run_loop(engine, plan())
    assert [m.text for m in engine.transcript.messages][1:] == [
        "The answer is in the last file that I have read."
    ]
    assert not engine.transcript.messages[-1].tool_calls, "no call is left without an answer"
    assert engine.calls == []


async def test_run_status_between_errors_does_not_forgive_them():
    failing = [call("t", args=f'{{"n": {n}}}') for n in range(3)]
    script = [failing[0], call("run_status"), failing[1], call("run_status"), failing[2], say("ok")]
    engine = FakeEngine(
        script, tool=lambda c, n: ok(c, "x") if c.name == "run_status" else failed(c, n)
    )
    ending = await run_loop(engine, plan(tool_errors=3))
    assert (ending.status, ending.reason) == (Status.ERROR, Reason.TOOL_ERRORS)


async def test_steer_reaches_the_model_once_before_its_next_call():
    engine = FakeEngine([call("t"), say("done")])
    engine.script[0] = lambda e: (e.steer.put("look left"), call("t"))[1]
    await run_loop(engine, plan())
    shown = [[m.text for m in step["shown"]] for step in engine.model_steps]
    assert "look left" not in shown[0]
    assert shown[1].count("look left") == 1


async def test_steer_that_arrives_with_the_answer_is_still_heard():
    engine = FakeEngine(
        [lambda e: (e.steer.put("and the tests?"), say("done"))[1], say("they pass")]
    )
    ending = await run_loop(engine, plan())
    assert ending.output == "they pass"


async def test_steer_is_heard_before_the_closing_answer_too_when_no_turn_is_left():
    engine = FakeEngine([lambda e: (e.steer.put("in French"), call("t"))[1], say("en bref")])
    ending = await run_loop(engine, plan(max_iterations=1))
    assert (ending.reason, ending.output) == (Reason.MAX_ITERATIONS, "en bref")
    assert [m.text for m in engine.model_steps[1]["shown"]].count("in French") == 1
    assert len(engine.steer) == 0


async def test_a_weak_closing_turn_recovers_the_front_loaded_answer():
    answer = "The total is 1,234 EUR, from three invoices: A, B and C."
    engine = FakeEngine([call("t", text=answer), say("As I already answered above.")])
    assert (await run_loop(engine, plan())).output == answer


async def test_a_short_real_answer_is_never_replaced():
    engine = FakeEngine([call("t", text="Let me think about this for a good while."), say("42")])
    assert (await run_loop(engine, plan())).output == "42"


async def test_an_empty_reply_is_asked_again_once():
    engine = FakeEngine([say(""), say("here")])
    assert (await run_loop(engine, plan())).output == "here"
    engine = FakeEngine([say(""), say("")])
    assert (await run_loop(engine, plan())).reason is Reason.MODEL_INCOMPLETE


async def test_tool_calls_of_a_length_cut_reply_never_run():
    engine = FakeEngine([call("t", stop="length"), say("short now")])
    ending = await run_loop(engine, plan())
    assert engine.calls == []
    assert ending.output == "short now"
    engine = FakeEngine([call("t", stop="length"), call("t", stop="length")])
    assert (await run_loop(engine, plan())).reason is Reason.MODEL_INCOMPLETE


async def test_a_length_cut_answer_is_kept_but_is_no_success():
    engine = FakeEngine([say("half of it", stop="length")])
    ending = await run_loop(engine, plan())
    assert (ending.status, ending.output) == (Status.ERROR, "half of it")


async def test_a_refusal_ends_the_run_with_its_words():
    engine = FakeEngine([say("I will not do that.", stop="refusal")])
    ending = await run_loop(engine, plan())
    assert (ending.reason, ending.output) == (Reason.MODEL_REFUSED, "I will not do that.")


async def test_calls_beyond_the_limit_of_a_turn_are_answered_not_run():
    engine = FakeEngine([call("t", "t", "t"), say("ok")])
    await run_loop(engine, plan(tool_calls=2))
    assert len(engine.calls) == 2
    assert_well_formed(engine.transcript.messages)


async def test_a_stop_during_a_model_turn_runs_none_of_its_calls():
    def stop(engine):
        engine.stopping = True
        return call("t")

    engine = FakeEngine([stop])
    with pytest.raises(asyncio.CancelledError):
        await run_loop(engine, plan())
    assert engine.calls == []


# -- limits ----------------------------------------------------------------------------------------


async def test_a_token_limit_stops_before_the_call_that_could_pass_it():
    engine = FakeEngine([call("t", tokens=400), call("t", tokens=400), say("never")])
    ending = await run_loop(engine, plan(tokens=1_200, max_output_tokens=200))
    assert (ending.status, ending.reason) == (Status.BUDGET_EXCEEDED, Reason.TOKEN_LIMIT)
    assert engine.ledger.usage.total_tokens <= 1_200


async def test_a_token_limit_lowers_the_room_of_the_last_replies():
    engine = FakeEngine([say("ok")])
    await run_loop(engine, plan(tokens=2_000))
    assert engine.model_steps[0]["room"] < 2_000


async def test_a_money_limit_counts_the_worst_case_of_the_next_call():
    price = {"input": 1_000_000, "output": 10_000_000}  # 1 and 10 micro-USD a token
    engine = FakeEngine([say("ok")])
    await run_loop(engine, plan(price=price, micro_usd=20_000))
    sent = engine.model_steps[0]["room"]
    assert 0 < sent * 10 <= 20_000
    engine = FakeEngine([say("never")])
    ending = await run_loop(engine, plan(price=price, micro_usd=100))
    assert (ending.status, ending.reason) == (Status.BUDGET_EXCEEDED, Reason.COST_LIMIT)
    assert engine.model_steps == []


async def test_a_money_limit_refuses_a_model_without_a_price():
    engine = FakeEngine([say("never")])
    ending = await run_loop(engine, plan(micro_usd=1_000_000))
    assert ending.reason is Reason.COST_LIMIT
    assert "fake/model" in ending.error


async def test_the_fee_of_a_call_counts_against_the_limit_on_money():
    price = {"input": 0, "output": 0, "call": 600}
    engine = FakeEngine([call("t"), say("never")])
    assert (await run_loop(engine, plan(price=price, micro_usd=500))).reason is Reason.COST_LIMIT
    assert engine.model_steps == []


async def test_wrap_up_keeps_room_for_one_last_answer_within_the_limit():
    def greedy(engine):
        room = engine.model_steps[-1]["room"]
        used = engine.loop.dialogue.input_tokens()
        return call("t").model_copy(update={"usage": {"input_tokens": used, "output_tokens": room}})

    from executus.usage import Usage

    def spend(engine):
        reply = greedy(engine)
        return reply.model_copy(update={"usage": Usage(**reply.usage, model_calls=1)})

    engine = FakeEngine([spend] * 30, tool=lambda c, n: ok(c, f"{n}" * 100))
    real = engine.model_step

    async def step(step_id, iteration, room, *, closing):
        if closing:
            engine.script.insert(0, say("what I have"))
        return await real(step_id, iteration, room, closing=closing)

    engine.model_step = step
    bounds = plan(tokens=9_000, max_output_tokens=500, at_limit="wrap_up", max_iterations=50)
    ending = await run_loop(engine, bounds)
    assert (ending.status, ending.reason) == (Status.BUDGET_EXCEEDED, Reason.TOKEN_LIMIT)
    assert ending.output == "what I have"
    assert len(engine.model_steps) > 3
    assert engine.ledger.usage.total_tokens <= 9_000


async def test_ask_pauses_at_the_limit_and_goes_on_when_it_is_raised():
    def raised(engine):
        engine.loop.allowance.tokens = 50_000

    engine = FakeEngine([call("t", tokens=900), say("done")], on_pause=raised)
    ending = await run_loop(engine, plan(tokens=2_000, max_output_tokens=300, at_limit="ask"))
    assert ending.status is Status.OK
    assert len(engine.pauses) == 1


async def test_a_turn_waits_for_what_a_judge_takes_before_it_says_that_nothing_is_left():
    def asked(engine):
        allowance, look = engine.loop.allowance, asyncio.Event()
        allowance.judge, allowance.look = Stake(tokens=5_000), look

        async def answer():
            await asyncio.sleep(0.01)
            allowance.judge, allowance.look = NO_STAKE, None
            look.set()

        engine.judge = asyncio.create_task(answer())
        return call("t", tokens=100)

    engine = FakeEngine([asked, say("done")])
    ending = await run_loop(engine, plan(tokens=5_000, max_output_tokens=300))
    assert (ending.status, engine.pauses) == (Status.OK, [])


async def test_ask_waits_for_a_budget_that_said_no():
    denied = RunError(Status.BUDGET_EXCEEDED, Reason.BUDGET_REJECTED, "budget: no")
    engine = FakeEngine([denied, denied, say("done")])
    ending = await run_loop(engine, plan(at_limit="ask"))
    assert (ending.status, len(engine.pauses)) == (Status.OK, 2)
    assert engine.waits == [60, 120], "each asking is a step: a run that waits for days is to end"
    engine = FakeEngine([denied])
    assert (await run_loop(engine, plan())).reason is Reason.BUDGET_REJECTED


# -- compaction ------------------------------------------------------------------------------------


def summary(fold: Fold, text: str = "summary") -> Message:
    return Message(role="summary", parts=(TextPart(text=text),), fold=fold)


def long_run(turns: int) -> list:
    return [*[call("t", tokens=0) for _ in range(turns)], say("done", tokens=0)]


def big(item, n):
    return ok(item, f"{n} " + "data " * 400)


async def test_old_messages_are_folded_once_and_not_every_turn():
    engine = FakeEngine(long_run(11), tool=big, summary=summary)
    ending = await run_loop(engine, plan(window=10_000))
    assert ending.status is Status.OK
    assert 1 <= len(engine.folds) <= 3
    fired = [e for e in engine.ledger.events if e.name == "compaction_fired"]
    assert len(fired) == len(engine.folds)


async def test_the_goal_and_the_newest_messages_stay_and_pairs_are_not_split():
    engine = FakeEngine(long_run(11), tool=big, summary=summary)
    await run_loop(engine, plan(window=10_000), prompt="the goal")
    for step in engine.model_steps:
        assert step["shown"][0].text == "the goal"
        body = [m for m in step["shown"] if m.role != "summary"]
        assert_well_formed(body)


@pytest.mark.parametrize("bad", [None, "longer"])
async def test_a_failed_or_useless_summary_sends_the_originals(bad):
    def useless(fold):
        return summary(fold, "x" * 200_000) if bad else None

    engine = FakeEngine(long_run(11), tool=big, summary=useless)
    ending = await run_loop(engine, plan(window=10_000))
    assert ending.status is Status.OK
    assert all(m.role != "summary" for step in engine.model_steps for m in step["shown"])
    assert len(engine.folds) < 6, "after a failure it waits until the conversation has grown"
    assert any(e.name == "compaction_failed" for e in engine.ledger.events)


async def test_a_later_fold_takes_the_earlier_summary_in():
    engine = FakeEngine(long_run(40), tool=big, summary=summary)
    await run_loop(engine, plan(window=10_000, max_iterations=60))
    assert len(engine.folds) >= 2
    assert all(fold.start == engine.folds[0].start for fold in engine.folds)
    for step in engine.model_steps:
        assert sum(m.role == "summary" for m in step["shown"]) <= 1


async def test_a_context_overflow_folds_and_tries_again():
    overflow = RunError(Status.ERROR, Reason.TOO_LARGE, "context length exceeded")
    script = [*[call("t") for _ in range(6)], overflow, say("done")]
    engine = FakeEngine(script, summary=summary)
    ending = await run_loop(engine, plan())
    assert (ending.status, len(engine.folds)) == (Status.OK, 1)


async def test_an_overflow_that_folding_cannot_cure_ends_the_run():
    overflow = RunError(Status.ERROR, Reason.TOO_LARGE, "context length exceeded")
    engine = FakeEngine([overflow])
    assert (await run_loop(engine, plan())).reason is Reason.TOO_LARGE


# -- structured output -----------------------------------------------------------------------------


async def test_an_answer_off_the_schema_goes_back_to_the_model_twice_at_most():
    bad = say("no json").model_copy(update={"invalid": "not JSON"})
    good = say('{"a":1}').model_copy(update={"structured": {"a": 1}})
    ending = await run_loop(FakeEngine([bad, good]), plan())
    assert (ending.status, ending.structured) == (Status.OK, {"a": 1})
    ending = await run_loop(FakeEngine([bad, bad, bad]), plan())
    assert (ending.reason, ending.output) == (Reason.INVALID_OUTPUT, "no json")
