import asyncio
import json
import logging
import sys
import threading
import tracemalloc
from collections import namedtuple
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr
from pydantic_core import to_json

from executus.agent import RunnableAgent
from executus.digest import digest
from executus.images import OUTPUT_BYTES, encoded, json_cap, json_room
from executus.message import ImagePart, Message
from executus.plan import ToolDef
from executus.redact import Redactor
from executus.sanitize import cap_text
from executus.tools import ToolContext, ToolError, ToolRetry, tool
from executus.tools.context import Secrets
from executus.tools.invoke import invoke
from executus.tools.tool import Tool
from executus.tools.value import CHUNK, cap_result
from executus.workflows.delegation import OVERHEAD_BYTES
from executus.workflows.tool_calls import MAX_BATCH_BYTES, result_cap

from .calls import call, context

CAP = 4_096


def returning(value: Any, **options: Any) -> Tool:
    @tool(name="give", **options)
    async def give() -> Any:
        return value

    return give


def raising(error: BaseException, **options: Any) -> Tool:
    @tool(name="fail", **options)
    async def fail() -> None:
        raise error

    return fail


def named(cases: list[tuple[Any, str]]) -> list[str]:
    """Ids for values that cannot be printed themselves."""
    return [f"{i} {type(value).__name__}" for i, (value, _) in enumerate(cases)]


class Colour(Enum):
    RED = "red"


class Account(BaseModel):
    name: str
    key: SecretStr = SecretStr("hunter2")
    hidden: str = Field(default="hunter2", exclude=True)


@dataclass
class Node:
    at: datetime
    next: "Node | None" = None


Pair = namedtuple("Pair", "a b")  # noqa: PYI024 - the case is the untyped one
NOON = datetime(2025, 1, 2, 12, tzinfo=UTC)


RETURNED: list[tuple[Any, str]] = [
    ("plain", "plain"),
    ("", ""),
    (None, "done"),
    (0, "0"),
    (False, "false"),
    (1.5, "1.5"),
    ("é\n", "é\n"),
    ({"b": 1, "a": [1, None]}, '{"b":1,"a":[1,null]}'),
    (Account(name="x"), '{"name":"x","key":"**********"}'),
    (
        [Node(NOON, Node(NOON))],
        f'[{{"at":"{NOON}","next":{{"at":"{NOON}","next":null}}}}]',
    ),
    (Pair(1, "x"), '[1,"x"]'),
    (Colour.RED, '"red"'),
    ({"c", "a", "b"}, '["a","b","c"]'),
    ({1: "a", None: "b", 2.5: "c"}, '{"1":"a","null":"b","2.5":"c"}'),
    ({True: 1}, '{"true":1}'),
    (Decimal("1.10"), '"1.10"'),
    ([Path("a/b")], '["a/b"]'),
    (b"text", "text"),
    ({"a": b"text"}, '{"a":"text"}'),
    (b"\xff\xfe", f"<2 bytes that are not text; sha256 {digest(bytes([255, 254]))}>"),
    (memoryview(b"ab"), "ab"),
    ("a\x00b", "a\ufffdb"),
    ("a\ud800b", "a\ufffdb"),
    ({"k\x00": "\udfff"}, '{"k\ufffd":"\ufffd"}'),
    (float("nan"), '"nan"'),
    ([float("inf")], '["inf"]'),
    (10**5_000, f'"{hex(10**5_000)}"'),
    ({10**5_000: 1}, f'{{"{hex(10**5_000)}":1}}'),
]


@pytest.mark.parametrize(("value", "text"), RETURNED, ids=named(RETURNED))
async def test_a_returned_value_becomes_text(value: Any, text: str) -> None:
    part = await call(returning(value))
    assert (part.outcome, part.text, part.truncated) == ("ok", text, False)
    assert part.bytes == len(text.encode())
    assert part.digest == digest(text.encode())
    assert (part.call_id, part.name) == ("call-1", "give")


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def endless() -> list[Any]:
    """Twenty thousand million values out of a hundred lists."""
    value: list[Any] = [1]
    for _ in range(10):
        value = [value] * 10
    return [value, value]


def ring() -> list[Any]:
    value: list[Any] = []
    value += [value, value]
    return value


class Mute:
    pass


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no words")


async def later() -> int:
    return 1


REFUSED: list[tuple[Any, str]] = [
    (iter([1]), "which is not data"),
    ((i for i in range(10**12)), "returned a generator, which is not data"),
    ([(i for i in range(10**12))], "returned a generator, which is not data"),
    (range(10**12), "more than 20,000 values"),
    (endless(), "more than 20,000 values"),
    (ring(), "more than 20,000 values"),
    (Mute(), "returned a Mute, which has no text form"),
    ({Mute(): 1}, "returned a Mute, which has no text form"),
    (len, "has no text form"),
    (sys, "returned a module, which has no text form"),
    (Mute, "has no text form"),
    (Broken(), "RuntimeError: no words"),
    (Exception, "has no text form"),
]


@pytest.mark.parametrize(("value", "problem"), REFUSED, ids=named(REFUSED))
async def test_what_is_not_data_is_refused_with_a_hint(
    value: Any, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executus.tools.value.MAX_VALUES", 20_000)  # the real bound takes a second
    part = await call(returning(value, effect="pure"))
    assert part.outcome == "error"
    assert problem in part.text
    assert "0x" not in part.text


async def test_a_hundred_thousand_deep_list_is_cut_and_stays_within_the_cap() -> None:
    part = await call(returning(deep(100_000)), result_bytes=CAP)
    assert part.outcome == "ok"
    assert "nested deeper than 64 levels" in part.text


async def test_ten_megabytes_of_text_become_head_digest_and_tail() -> None:
    text = "start " + "x" * 10_000_000 + " end"
    part = await call(returning(text), result_bytes=CAP)
    assert part.truncated
    assert part.text.startswith("start ")
    assert part.text.endswith(" end")
    assert part.digest in part.text
    assert part.digest == digest(text.encode())
    assert part.bytes == len(text)
    assert len(part.text.encode()) <= CAP


async def test_a_long_text_is_capped_in_constant_memory() -> None:
    text = "x" * 50_000_000
    tracemalloc.start()
    try:
        await call(returning(text), result_bytes=65_536)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


@pytest.mark.parametrize(
    "unit", ["x", "é", "€", "😀", "a\x00", "a\ud800b", "\x1b", '"\\'], ids=ascii
)
@pytest.mark.parametrize("limit", [256, 524_288])
def test_capping_in_chunks_gives_the_same_as_capping_at_once(unit: str, limit: int) -> None:
    text = unit * (CHUNK // len(unit) * 2 + 7)
    assert cap_result(text, limit) == cap_text(text, limit, json_limit=OUTPUT_BYTES)


async def test_no_result_bound_lets_a_payload_grow_past_half_a_megabyte() -> None:
    part = await call(returning("x" * 2_000_000), result_bytes=10_000_000)
    assert len(part.text) <= 524_288


@pytest.mark.parametrize("text", ["\x1b" * 400_000, '"' * 500_000, ["\\" * 250_000] * 2])
async def test_a_result_fits_its_payload_also_where_it_is_escaped(text: Any) -> None:
    part = await call(returning(text), result_bytes=524_288)
    assert part.outcome == "ok"
    assert part.truncated
    assert "bytes cut; sha256" in part.text
    assert OUTPUT_BYTES * 0.99 < len(to_json(part.text)) <= OUTPUT_BYTES


async def test_beside_images_an_escaped_result_has_what_they_leave() -> None:
    image = ImagePart(mime="image/png", data=b"\x89PNG\r\n\x1a\n" + bytes(599_000))
    part = await call(returning(["\x1b" * 60_000, image], image_bytes=600_000))
    assert part.truncated
    assert len(to_json(part.text)) + encoded(len(image.data)) <= OUTPUT_BYTES


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.binary(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=30,
)


@settings(max_examples=200, deadline=None)
@given(value=JSON, cap=st.integers(256, 2_000))
async def test_any_returned_value_survives_encoding_within_its_cap(value: Any, cap: int) -> None:
    part = await call(returning(value), result_bytes=cap)
    assert part.outcome == "ok"
    assert len(part.text.encode("utf-8")) <= cap
    message = Message(role="tool", parts=(part,))
    assert Message.model_validate_json(message.model_dump_json()) == message
    if not isinstance(value, str | bytes | None) and not part.truncated:
        json.loads(part.text)


@settings(max_examples=50, deadline=None)
@given(message=st.text(st.characters(codec=None)))
async def test_any_error_message_survives_encoding(message: str) -> None:
    for error in (ToolError(message), ValueError(message)):
        part = await call(raising(error), result_bytes=256)
        assert part.outcome == "error"
        assert part.text
        Message(role="tool", parts=(part,)).model_dump_json()
        assert len(part.text.encode()) <= 256


async def test_a_sync_function_runs_in_a_thread_and_an_async_one_on_the_loop() -> None:
    @tool
    def sync() -> int:
        return threading.get_ident()

    @tool
    async def on_loop() -> int:
        return threading.get_ident()

    here = str(threading.get_ident())
    assert (await call(sync)).text != here
    assert (await call(on_loop)).text == here


async def test_a_sync_function_that_hands_out_a_coroutine_is_awaited() -> None:
    @tool
    def wrapped() -> Any:
        return later()

    assert (await call(wrapped)).text == "1"


async def test_the_context_is_injected_and_the_model_cannot_set_it() -> None:
    @tool
    async def who(context: ToolContext) -> str:
        return f"{context.caller_id} in {context.run_id}"

    assert (await call(who, caller_id="alice")).text == "alice in run-1"
    part = await call(who, '{"context": {"caller_id": "mallory"}}', caller_id="alice")
    assert part.text == (
        "invalid arguments for who: context: unexpected argument; known arguments: (it takes none)"
    )


async def test_a_mutable_default_is_not_shared_between_calls() -> None:
    @tool
    async def collect(item: str, into: list[str] = []) -> list[str]:  # noqa: B006 - the case
        into.append(item)
        return into

    await call(collect, '{"item": "a"}')
    assert (await call(collect, '{"item": "b"}')).text == '["b"]'


async def test_a_tool_error_is_a_result_with_its_message_and_not_logged(caplog: Any) -> None:
    part = await call(raising(ToolError("no such file\ntry list_files")))
    assert (part.outcome, part.text) == ("error", "no such file\ntry list_files")
    assert caplog.records == []


async def test_a_bug_is_an_error_result_and_one_log_line(caplog: Any) -> None:
    part = await call(raising(ValueError("bad\nvalue"), effect="pure"))
    assert (part.outcome, part.text) == ("error", "ValueError: bad value")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert "tool fail failed in run run-1" in message
    assert "test_invoke.py:" in message
    assert "\n" not in message
    assert record.exc_info is None


async def test_the_model_is_told_that_a_failed_once_tool_may_have_acted() -> None:
    part = await call(raising(ConnectionError("reset"), effect="once"))
    assert part.outcome == "error"
    assert part.text.endswith("may have taken effect: verify before trying it again.")
    part = await call(returning(Mute(), effect="once"))
    assert part.text.endswith("may have taken effect: verify before trying it again.")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


def recurse() -> None:
    recurse()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError(), "RuntimeError"),
        (MemoryError(), "MemoryError"),
        (SystemExit(3), "SystemExit: 3"),
        (Unprintable(), "Unprintable"),
        (StopIteration(), "RuntimeError: the tool raised StopIteration"),
        (ExceptionGroup("two", [ValueError("a")]), "ExceptionGroup: two (1 sub-exception)"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
    ids=ascii,
)
async def test_no_exception_of_a_sync_tool_escapes(error: BaseException, text: str) -> None:
    @tool(effect="pure")
    def fail() -> None:
        raise error

    part = await asyncio.wait_for(call(fail), 5)
    assert (part.outcome, part.text) == ("error", text)


@pytest.mark.parametrize(
    "error", [SystemExit(3), MemoryError(), asyncio.CancelledError()], ids=ascii
)
async def test_no_exception_of_an_async_tool_escapes(error: BaseException) -> None:
    part = await call(raising(error))
    assert part.outcome == "error"
    assert part.text.startswith(type(error).__name__)


async def test_endless_recursion_is_an_error_result() -> None:
    @tool(effect="pure")
    def fall() -> None:
        recurse()

    assert (await call(fall)).text.startswith("RecursionError: ")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "[Errno 2] No such file: '/srv/acme/private/a b.txt'",
            "[Errno 2] No such file: '…/a b.txt'",
        ),
        ("cannot open /srv/acme/private/key.pem now", "cannot open …/key.pem now"),
        (r"cannot open C:\Users\me\key.pem", "cannot open …/key.pem"),
        (
            "GET https://api.example.com/v1/x?access=hunter2 failed",
            "GET https://api.example.com/… failed",
        ),
        ("https://me:hunter2@example.com", "https://example.com"),
        ("key sk-abcdefghijklmnopqrstuv is bad", "key [redacted 25] is bad"),
        ("Bearer abcdefghijklmnop", "[redacted 23]"),
        ("either/or, 3/4 and 2025/03/14", "either/or, 3/4 and 2025/03/14"),
        ("x" * 5_000, "x" * 999 + "…"),
    ],
    ids=lambda value: value[:30],
)
async def test_an_unexpected_error_shows_neither_paths_nor_secrets(
    message: str, shown: str
) -> None:
    part = await call(raising(ValueError(message), effect="pure"))
    assert part.text == f"ValueError: {shown}"


TRANSIENT = [ToolRetry("busy"), ConnectionError("reset"), TimeoutError("slow")]


@pytest.mark.parametrize("error", TRANSIENT, ids=ascii)
@pytest.mark.parametrize("effect", ["pure", "idempotent"])
async def test_a_transient_failure_goes_to_temporal_until_the_last_attempt(
    error: Exception, effect: Any
) -> None:
    flaky = raising(error, effect=effect)
    with pytest.raises(ToolRetry, match=str(error)):
        await call(flaky, last_attempt=False)
    part = await call(flaky, last_attempt=True)
    assert part.outcome == "error"
    assert str(error) in part.text


@pytest.mark.parametrize("error", TRANSIENT, ids=ascii)
async def test_a_once_tool_is_never_given_back_for_a_retry(error: Exception) -> None:
    part = await call(raising(error, effect="once"), last_attempt=False)
    assert part.outcome == "error"


async def test_a_retry_carries_no_secret_and_no_cause_into_history() -> None:
    secrets = Secrets(["KEY"], {"KEY": "hunter2hunter2"})
    error = ConnectionError("https://x.example/hunter2hunter2 at /srv/app/code.py")
    with pytest.raises(ToolRetry) as caught:
        await call(raising(error, effect="pure"), last_attempt=False, secrets=secrets)
    assert str(caught.value) == "ConnectionError: https://x.example/… at …/code.py"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_a_cancel_passes_through() -> None:
    started = asyncio.Event()

    @tool
    async def wait() -> None:
        started.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(call(wait))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancel_does_not_wait_for_a_thread() -> None:
    started, stop = threading.Event(), threading.Event()

    @tool
    def wait() -> None:
        started.set()
        stop.wait(60)

    task = asyncio.create_task(call(wait))
    try:
        await asyncio.to_thread(started.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
    finally:
        stop.set()


SECRETS = Secrets(["API_KEY", "SHORT"], {"API_KEY": 'hunter2/"x" y', "SHORT": "abc"})


@pytest.mark.parametrize(
    "leak",
    [
        lambda key: key,
        lambda key: {"list": [{"deep": f"<{key}>"}]},
        lambda key: SimpleNamespace(key=key),
        lambda key: "https://x.example/?q=hunter2%2F%22x%22%20y",
        lambda key: ("x" * 2_000_000) + key,
    ],
    ids=["bare", "nested", "in an object", "quoted", "at the end of much"],
)
@pytest.mark.parametrize("outcome", ["ok", "ToolError", "bug"])
async def test_a_secret_never_leaves_in_a_result_an_error_or_a_log(
    leak: Any, outcome: str, caplog: Any
) -> None:
    @tool(effect="pure")
    async def use(context: ToolContext) -> Any:
        value = leak(context.secret("API_KEY"))
        if outcome == "ToolError":
            raise ToolError(str(value))
        if outcome == "bug":
            raise ValueError(value)
        return value

    part = await call(use, secrets=SECRETS)
    for text in (part.text, caplog.text, part.model_dump_json()):
        assert "hunter2" not in text


async def test_a_custom_redactor_applies_to_errors() -> None:
    part, _ = await invoke(
        raising(ToolError("card 4111-1111")),
        "{}",
        context(),
        result_bytes=1_000,
        last_attempt=True,
        redactor=Redactor(patterns=[r"\d{4}-\d{4}"]),
    )
    assert part.text == "card [redacted 9]"


@pytest.mark.parametrize("limit", [1, 1_000, 65_536, 500_000])
@pytest.mark.parametrize("filling", ["\x1b", '"', "x", "\u6f22"])
def test_a_batch_of_the_widest_results_stays_under_3_mb(filling: str, limit: int) -> None:
    """Temporal ends a run whose workflow task passes 4 MiB."""
    text = cap_result(filling * 600_000, limit, json_limit=json_room(limit, ())).text
    assert len(to_json(text)) <= json_cap(limit)
    assert max(1, MAX_BATCH_BYTES // json_cap(limit)) * len(to_json(text)) <= MAX_BATCH_BYTES


@pytest.mark.parametrize("limit", [256, 8_192, 65_536, 524_288])
def test_a_batch_of_whole_child_results_stays_under_3_mb(limit: int) -> None:
    """Small results once let 64 children end at once, whose steps and numbers took 4.3 MB."""
    agent = RunnableAgent(name="child")
    tool = ToolDef(name="agent__child", parameters={}, digest="", result_bytes=limit, agent=agent)
    at_once = min(64, MAX_BATCH_BYTES // result_cap(tool))
    assert at_once >= 2
    assert at_once * (limit + OVERHEAD_BYTES) <= MAX_BATCH_BYTES
