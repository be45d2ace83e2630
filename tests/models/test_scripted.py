import asyncio
import time

import pytest

from executus.errors import ModelError
from executus.message import Message
from executus.models.provider import ModelReply, ModelRequest, Provider
from executus.models.scripted import Scripted, call, calls, fail, hang, say
from executus.usage import Usage
from tests.models.support import ADD, assistant, quiet, request, result, user


async def ask(provider: Provider, model: str, *messages: Message, **options: object) -> ModelReply:
    return await provider.complete(request(*messages, model=model, **options), quiet)


async def failure(
    provider: Provider, model: str, *messages: Message, **options: object
) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await ask(provider, model, *messages, **options)
    return caught.value


async def test_a_script_is_followed_turn_by_turn() -> None:
    provider = Scripted({"s": [call("add", a=1, b=2), "three"]})
    first = await ask(provider, "s")
    (made,) = first.message.tool_calls
    assert (made.name, made.arguments, first.stop) == ("add", '{"a": 1, "b": 2}', "tool_calls")
    second = await ask(provider, "s", user("hello"), first.message, result(made.id, "3"))
    assert (second.message.text, second.stop) == ("three", "end")


async def test_the_same_request_always_gets_the_same_reply() -> None:
    provider = Scripted({"s": [say("one"), say("two")]})
    replies = await asyncio.gather(*(ask(provider, "s") for _ in range(20)))
    assert {reply.message.text for reply in replies} == {"one"}
    assert {reply.usage for reply in replies} == {replies[0].usage}


async def test_call_ids_differ_from_turn_to_turn() -> None:
    provider = Scripted({"s": [calls(("a", {}), ("b", "{")), call("a")]})
    first = await ask(provider, "s")
    second = await ask(provider, "s", user("x"), first.message)
    ids = [c.id for reply in (first, second) for c in reply.message.tool_calls]
    assert len(set(ids)) == 3
    assert first.message.tool_calls[1].arguments == "{"


async def test_a_script_that_runs_out_says_so() -> None:
    error = await failure(Scripted({"s": ["one"]}), "s", user("a"), assistant())
    assert error.fault == "script_exhausted"
    assert "has 1 replies, turn 2 came" in str(error)


async def test_an_unknown_script_names_the_known_ones() -> None:
    error = await failure(Scripted({"s": []}), "t")
    assert error.fault == "not_found"
    assert "echo, s" in str(error)


async def test_echo_is_always_there() -> None:
    assert (await ask(Scripted(), "echo", user("hi"))).message.text == "hi"


async def test_a_function_sees_the_request_and_may_wait() -> None:
    async def later(given: ModelRequest) -> str:
        await asyncio.sleep(0)
        return f"{len(given.messages)} messages"

    provider = Scripted({"f": later, "list": [lambda given: say(given.model)]})
    assert (await ask(provider, "f")).message.text == "1 messages"
    assert (await ask(provider, "list")).message.text == "list"


async def test_a_broken_function_is_a_final_model_error() -> None:
    def broken(_: ModelRequest) -> str:
        raise ZeroDivisionError("by zero")

    error = await failure(Scripted({"f": broken}), "f")
    assert (error.fault, error.transient) == ("request_rejected", False)
    assert "by zero" in str(error)


async def test_a_failure_is_told_as_written() -> None:
    script = [fail("rate_limited", "slow down", retry_after=3, status_code=429, sent=False)]
    error = await failure(Scripted({"s": script}), "s")
    assert (error.fault, error.retry_after, error.status_code) == ("rate_limited", 3, 429)
    assert not error.sent


async def test_a_failure_without_then_lasts() -> None:
    provider = Scripted({"s": [fail("overloaded")]})
    for _ in range(3):
        assert (await failure(provider, "s")).fault == "overloaded"


async def test_failures_before_a_reply_are_counted_for_each_run() -> None:
    then = fail("timeout", then="ok")
    provider = Scripted({"s": [fail("overloaded", times=2, then=then)]})
    for run in ("r1", "r2"):
        faults = [(await failure(provider, "s", cache_key=run)).fault for _ in range(3)]
        assert faults == ["overloaded", "overloaded", "timeout"]
        assert (await ask(provider, "s", cache_key=run)).message.text == "ok"


async def test_a_hang_ends_by_its_timeout_or_a_cancel() -> None:
    provider = Scripted({"s": [hang()], "slow": [say("late", delay=9)]})
    start = time.monotonic()
    assert (await failure(provider, "s", timeout=0.02)).fault == "timeout"
    assert (await failure(provider, "slow", timeout=0.02)).fault == "timeout"
    assert time.monotonic() - start < 2
    task = asyncio.create_task(ask(provider, "s"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_usage_grows_with_what_is_sent_and_can_be_given() -> None:
    provider = Scripted({"s": ["x" * 400], "u": [say("x", usage=Usage(input_tokens=7))]})
    small = (await ask(provider, "s")).usage
    large = (await ask(provider, "s", user("y" * 4000), tools=(ADD,))).usage
    assert large.input_tokens > small.input_tokens + 900
    assert small.output_tokens >= 100
    assert small.model_calls == 1
    assert (await ask(provider, "u")).usage.input_tokens == 7


async def test_text_streams_line_by_line() -> None:
    pieces: list[str] = []
    await Scripted({"s": ["a\nb"]}).complete(request(model="s"), pieces.append)
    assert pieces == ["a\n", "b"]


async def test_a_script_added_later_is_found() -> None:
    scripts: dict[str, list[str]] = {}
    provider = Scripted(scripts)
    scripts["new"] = ["here"]
    assert (await ask(provider, "new")).message.text == "here"
