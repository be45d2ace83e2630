"""How a target is asked for a result in a schema, and whether its reply holds one."""

import json

import pytest

from executus.activities.output import check_submission, judged, wanted
from executus.contracts import ModelStepOutput
from executus.limits import Defaults
from executus.message import Message, TextPart, ToolCallPart
from executus.models.provider import WireMessage
from executus.output_schema import MAX_STRUCTURED
from executus.plan import ModelTarget, RunPlan, ToolDef
from executus.submit import HINT, SUBMIT, submit_tool
from executus.usage import Usage

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
ADD = ToolDef(name="add", parameters={}, digest="d")
PLAN = RunPlan(
    agent_id="a",
    agent_name="a",
    system_prompt="S",
    targets=(ModelTarget(spec="m/m", context_window=1_000),),
    tools=(ADD,),
    output_schema=SCHEMA,
    bounds=Defaults(),
)
ASKED = [WireMessage(Message.user("go"))]
TRIED = [
    *ASKED,
    WireMessage(Message(role="assistant", parts=(ToolCallPart(id="c", name=SUBMIT),))),
]


def names(want):
    return [tool.name for tool in want.tools]


@pytest.mark.parametrize("closing", [False, True])
def test_native_means_take_the_schema_and_leave_the_prompt_alone(closing):
    want = wanted(PLAN, ASKED, native=True, closing=closing)
    assert (want.output_schema, names(want), want.system_prompt) == (SCHEMA, ["add"], "S")
    assert (want.tool_choice, want.by_tool) == ("none" if closing else "auto", False)


def test_who_has_none_gets_the_tool_and_is_told_so():
    want = wanted(PLAN, ASKED, native=False, closing=False)
    assert (want.output_schema, names(want)) == (None, ["add", SUBMIT])
    assert want.tools[1] == submit_tool(SCHEMA)
    assert (want.system_prompt, want.by_tool) == (f"S\n\n{HINT}", True)


def test_the_closing_answer_by_tool_leaves_that_tool_alone():
    want = wanted(PLAN, ASKED, native=False, closing=True)
    assert (names(want), want.tool_choice) == ([SUBMIT], "auto")


def test_after_a_failover_the_tool_that_was_called_is_still_there():
    want = wanted(PLAN, TRIED, native=True, closing=False)
    assert (want.output_schema, names(want)) == (SCHEMA, ["add", SUBMIT])
    assert not want.by_tool


def test_without_a_schema_nothing_is_added():
    plain = PLAN.model_copy(update={"output_schema": None})
    want = wanted(plain, TRIED, native=False, closing=False)
    assert (want.output_schema, names(want), want.system_prompt) == (None, ["add"], "S")


def output(*parts, stop="tool_calls"):
    return ModelStepOutput(
        message=Message(role="assistant", parts=parts), stop=stop, usage=Usage(), spec="m/m"
    )


def submit(n, arguments):
    return ToolCallPart(id=f"c{n}", name=SUBMIT, arguments=arguments)


def test_every_submission_is_judged_and_its_value_not_repeated():
    reply = output(submit(1, "{"), submit(2, '{"a": "x"}'), submit(3, '{"a": 1}'))
    found = judged(reply, SCHEMA, by_tool=True).submissions
    assert [s.call_id for s in found] == ["c1", "c2", "c3"]
    assert ["not valid JSON" in str(found[0].invalid), "$.a" in str(found[1].invalid)] == [True] * 2
    assert found[2].invalid is None
    sent = judged(reply, SCHEMA, by_tool=True).model_dump_json()
    assert sent.count('\\"a\\": 1') == 1


def test_a_text_that_matches_counts_also_where_the_tool_was_wanted():
    reply = judged(output(TextPart(text='{"a": 1}'), stop="end"), SCHEMA, by_tool=True)
    assert (reply.valid, reply.invalid, reply.structured) == (True, None, None)


def test_a_text_that_does_not_is_told_of_the_tool():
    text = output(TextPart(text="hello"), stop="end")
    assert "calling the tool `submit`" in str(judged(text, SCHEMA, by_tool=True).invalid)
    assert "submit" not in str(judged(text, SCHEMA, by_tool=False).invalid)


@pytest.mark.parametrize("stop", ["length", "refusal"])
def test_nothing_of_a_cut_or_refused_reply_counts(stop):
    reply = output(submit(1, '{"a": 1}'), stop=stop)
    assert judged(reply, SCHEMA, by_tool=True) == reply


def test_without_a_schema_a_reply_stays_as_it_is():
    reply = output(submit(1, '{"a": 1}'))
    assert judged(reply, None, by_tool=False) is reply


def test_a_value_too_large_for_the_result_goes_back():
    loose = {"type": "object"}
    arguments = json.dumps({"a": "ü" * (MAX_STRUCTURED // 2)}, ensure_ascii=False)
    checked = check_submission(arguments, loose)
    assert checked.value is None
    assert "make it shorter" in str(checked.invalid)
