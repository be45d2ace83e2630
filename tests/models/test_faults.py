"""The fault table: every row over real HTTP, with the real clients, in all three formats."""

import asyncio
import json
import socket
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executus.errors import SKIP_FAULTS, TRANSIENT_FAULTS, ModelError, ModelFault
from executus.models.anthropic_messages import AnthropicMessages
from executus.models.faults import classify, from_payload, retry_after, scrub
from executus.models.openai_chat import OpenAIChat
from executus.models.openai_responses import OpenAIResponses
from tests.models.support import APIS, KEY, ask, quiet, request, scripted, user
from tests.provider_server import (
    Reply,
    Status,
    calls,
    drop,
    malformed,
    say,
    stall,
    status,
    stream_error,
    truncate,
)
from tests.provider_server.replies import Call
from tests.provider_server.wires import Api, events

LONG = "This model's maximum context length is 128000 tokens"

OVERFLOWS = list(
    enumerate(
        (
            "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000",
            "The input token count (1196265) exceeds the maximum number of tokens allowed.",
            "the request exceeds the available context size, try increasing it",
            "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
            "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
            "Invalid request: Your request exceeded model token limit: 131072",
            "prompt token count of 81000 exceeds the limit of 64000",
            "`inputs` tokens + `max_new_tokens` must be <= 8193.",
        )
    )
)
TABLE: dict[str, tuple[Reply, ModelFault, float | None]] = {
    "429 with seconds": (status(429, headers={"retry-after": "1"}), "rate_limited", 1.0),
    "429 with 120 s": (status(429, headers={"retry-after": "120"}), "rate_limited", 120.0),
    "429 with milliseconds": (
        status(429, headers={"retry-after-ms": "1500", "retry-after": "9"}),
        "rate_limited",
        1.5,
    ),
    "429 with junk": (status(429, headers={"retry-after": "soon"}), "rate_limited", None),
    "429 without a wish": (status(429, "slow down"), "rate_limited", None),
    "429 quota text": (status(429, "You exceeded your current quota"), "provider_quota", None),
    "429 with a date in the past": (
        status(429, headers={"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000"}),
        "rate_limited",
        0.0,
    ),
    "429 quota text with a wish": (
        status(429, "Quota for requests per minute", headers={"retry-after": "2"}),
        "rate_limited",
        2.0,
    ),
    "429 spend limit": (
        status(429, error_code="enforced_spend_limit_reached", headers={"retry-after": "3"}),
        "provider_quota",
        3.0,
    ),
    "429 insufficient quota": (
        status(429, error_code="insufficient_quota"),
        "provider_quota",
        None,
    ),
    "400 credit": (status(400, "Your credit balance is too low"), "provider_quota", None),
    "402": (status(402, "pay", type="billing_error"), "provider_quota", None),
    "500": (status(500), "overloaded", None),
    "502 html": (status(502, body=b"<html>bad gateway</html>"), "overloaded", None),
    "503 with a wish": (status(503, headers={"retry-after": "7"}), "overloaded", 7.0),
    "529": (status(529), "overloaded", None),
    "409": (status(409), "overloaded", None),
    "408": (status(408), "timeout", None),
    "400": (status(400, "temperature must be a number"), "request_rejected", None),
    "400 empty body": (status(400, body=b""), "request_rejected", None),
    "400 context": (status(400, LONG), "context_overflow", None),
    "400 context code": (
        status(400, error_code="context_length_exceeded"),
        "context_overflow",
        None,
    ),
    "400 prompt": (status(400, "prompt is too long: 201 tokens"), "context_overflow", None),
    "400 images": (status(400, "This model does not support images"), "unsupported", None),
    **{f"overflow {n}": (status(400, said), "context_overflow", None) for n, said in OVERFLOWS},
    "429 too large": (
        status(429, "Request too large for gpt-x on tokens per min (TPM): Limit 3, Requested 4."),
        "unsupported",
        None,
    ),
    "413 too large": (
        status(413, "Request too large for model `x` on tokens per minute (TPM): Limit 3"),
        "unsupported",
        None,
    ),
    "429 google": (
        status(429, "You exceeded your current quota, check your billing. Please retry in 36.2s."),
        "rate_limited",
        36.2,
    ),
    "429 minutes": (
        status(429, "Rate limit reached for x: Limit 9, Used 9. Please try again in 7m12.5s."),
        "rate_limited",
        432.5,
    ),
    "429 milliseconds in words": (
        status(429, "Please try again in 129ms. Visit ..."),
        "rate_limited",
        0.129,
    ),
    "429 azure": (status(429, "Please retry after 26 seconds."), "rate_limited", 26.0),
    "429 header before words": (
        status(429, "Please try again in 9s", headers={"retry-after": "2"}),
        "rate_limited",
        2.0,
    ),
    "400 too much output": (
        status(400, "max_tokens is too large: 50000. This model supports at most 16384"),
        "request_rejected",
        None,
    ),
    "401": (status(401), "provider_auth", None),
    "403": (status(403), "provider_auth", None),
    "403 model": (status(403, error_code="model_not_found"), "not_found", None),
    "404": (status(404, "model: m"), "not_found", None),
    "413": (status(413, "Request exceeds the maximum size"), "request_rejected", None),
    "418": (status(418), "request_rejected", None),
    "422": (status(422), "request_rejected", None),
    "event overloaded": (stream_error("overloaded_error"), "overloaded", None),
    "event server error": (stream_error("server_error"), "overloaded", None),
    "event of unknown type": (stream_error("weather_error"), "overloaded", None),
    "event rate limit": (stream_error("rate_limit_error"), "rate_limited", None),
    "event quota": (stream_error("insufficient_quota"), "provider_quota", None),
    "event invalid": (stream_error("invalid_request_error"), "request_rejected", None),
    "event context": (stream_error("invalid_request_error", LONG), "context_overflow", None),
    "event auth": (stream_error("authentication_error"), "provider_auth", None),
    "event policy": (stream_error("bio_policy"), "request_rejected", None),
    "event at once": (stream_error("overloaded_error", after=0), "overloaded", None),
    "event with a status": (stream_error("x", code=502), "overloaded", None),
    "event with a final status": (stream_error("x", code=401), "provider_auth", None),
    "failed response": (stream_error("server_error", failed=True), "overloaded", None),
    "failed response quota": (
        stream_error("rate_limit_exceeded", failed=True),
        "rate_limited",
        None,
    ),
    "failed response prompt": (
        stream_error("invalid_prompt", failed=True),
        "request_rejected",
        None,
    ),
    "stall": (stall(), "timeout", None),
    "stall before the first event": (stall(after=0), "timeout", None),
    "drop": (drop(after=2), "connection", None),
    "drop before the first event": (drop(after=0), "connection", None),
    "malformed": (malformed(), "corrupt_response", None),
    "truncate": (truncate(), "incomplete_response", None),
    "truncate empty": (truncate(say("")), "incomplete_response", None),
    "truncate in a tool call": (
        truncate(calls(Call("add", '{"a": 1}'))),
        "incomplete_response",
        None,
    ),
    "5 MB text": (say("x" * 5_000_000, piece=200_000), "request_rejected", None),
    "5 MB arguments": (
        calls(Call("add", '{"a": "' + "x" * 5_000_000 + '"}'), piece=200_000),
        "request_rejected",
        None,
    ),
}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.replace(" ", "-"))
async def test_each_fault_has_one_class_in_every_format(row: str, api: str) -> None:
    reply, fault, wish = TABLE[row]
    with pytest.raises(ModelError) as caught:
        await ask(api, reply, timeout=0.5 if row.startswith("stall") else 5.0)
    error = caught.value
    assert (error.fault, error.retry_after) == (fault, wish), error
    assert error.sent
    assert error.__cause__ is None
    assert error.__context__ is None
    assert KEY not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("api", APIS)
async def test_a_status_keeps_its_number_and_an_event_has_none(api: str) -> None:
    with pytest.raises(ModelError) as caught:
        await ask(api, status(529))
    assert caught.value.status_code == 529
    with pytest.raises(ModelError) as caught:
        await ask(api, stream_error("overloaded_error"))
    assert caught.value.status_code is None


def answer(body: bytes, kind: str) -> Status:
    """A 200 that is this body, of this content type."""
    return Status(200, body=body, headers={"content-type": kind})


ERROR = {"message": "top up, please", "type": "insufficient_quota", "code": "insufficient_quota"}
NO_STREAM = {
    "quota": (json.dumps({"error": ERROR}), "application/json", "provider_quota", "top up"),
    "quota in a list": (
        json.dumps([{"error": ERROR}], indent=2),
        "application/json; charset=utf-8",
        "provider_quota",
        "top up, please",
    ),
    "code": ('{"error": {"message": "who?", "code": 401}}', "", "provider_auth", "who?"),
    "text": ('{"error": "model overheats"}', "application/json", "overloaded", "overheats"),
    "page": (
        "<html><title>Log in</title>" + "x" * 200_000,
        "text/html",
        "corrupt_response",
        "text/html instead of text/event-stream: <html><title>Log in",
    ),
    "whole": ('{"choices": []}', "application/json", "corrupt_response", "application/json"),
    "nothing": ("", "", "corrupt_response", "no content type instead of"),
    "large": (
        '{"error": {"message": "' + "x" * 200_000 + '"}}',
        "application/json",
        "corrupt_response",
        "application/json instead of",
    ),
}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("row", NO_STREAM, ids=lambda row: row.replace(" ", "-"))
async def test_an_answer_that_is_no_stream_is_told_by_its_words(row: str, api: str) -> None:
    body, kind, fault, words = NO_STREAM[row]
    with pytest.raises(ModelError) as caught:
        await ask(api, answer(body.encode(), kind))
    error = caught.value
    assert error.fault == fault, error
    assert words in str(error)
    assert (error.status_code, error.__cause__, error.__context__) == (None, None, None)


@pytest.mark.parametrize("api", APIS)
async def test_a_key_in_an_answer_that_is_no_stream_is_cut_out(api: str) -> None:
    with pytest.raises(ModelError) as caught:
        await ask(api, answer(f"<p>{KEY}</p>".encode(), "text/html"))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("kind", ["application/x-ndjson", "text/plain", "", "Text/Event-Stream"])
@pytest.mark.parametrize("api", APIS)
async def test_a_stream_may_have_another_content_type(api: Api, kind: str) -> None:
    body = b": hello\r\n\r\n" + b"".join(events(api, say("x" * 200_000), "m"))
    assert (await ask(api, answer(body, kind))).message.text == "x" * 200_000


async def test_a_response_that_is_incomplete_for_an_unknown_reason_is_no_reply() -> None:
    with pytest.raises(ModelError) as caught:
        await ask("openai-responses", say("x", finish="length", reason="lunch"))
    assert caught.value.fault == "incomplete_response"


@pytest.mark.parametrize("api", APIS)
async def test_an_http_date_is_a_number_of_seconds(api: str) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    with pytest.raises(ModelError) as caught:
        await ask(api, status(429, headers={"retry-after": moment}))
    assert caught.value.retry_after == pytest.approx(60, abs=3)


@pytest.mark.parametrize("api", APIS)
async def test_one_failed_call_is_one_request(api: str) -> None:
    async with scripted(api, status(500)) as (server, made):
        with pytest.raises(ModelError):
            await made.complete(request(), quiet)
        assert len(server.journal) == 1


@pytest.mark.parametrize("make", [AnthropicMessages, OpenAIResponses, OpenAIChat])
async def test_a_refused_connection_says_that_nothing_was_sent(make: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    made = make(api_key=KEY, base_url=f"http://user:hunter2@127.0.0.1:{port}")
    with pytest.raises(ModelError) as caught:
        await made.complete(request(), quiet)
    await made.close()
    assert (caught.value.fault, caught.value.sent) == ("connection", False)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("api", APIS)
async def test_the_timeout_bounds_the_whole_call_not_each_chunk(api: str) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    with pytest.raises(ModelError) as caught:
        await ask(api, say("x" * 2_000, piece=10, pace=0.1), timeout=0.4)
    assert caught.value.fault == "timeout"
    assert loop.time() - start < 3


@pytest.mark.parametrize("api", APIS)
async def test_a_cancel_passes_through_and_leaves_the_provider_usable(api: str) -> None:
    async with scripted(api, stall()) as (server, made):
        task = asyncio.create_task(made.complete(request(), quiet))
        await server.received()
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.script("m", [say("again")])
        reply = await made.complete(request(), quiet)
        assert reply.message.text == "again"


@pytest.mark.parametrize("api", APIS)
async def test_a_key_that_the_provider_quotes_back_is_cut_out(api: str) -> None:
    said = f"Incorrect API key provided: {KEY}, x-api-key: {KEY}, https://bob:pw12@host/?key=abc"
    with pytest.raises(ModelError) as caught:
        await ask(api, status(401, said + " filler" * 500))
    told = str(caught.value)
    assert KEY not in told
    assert "pw12" not in told
    assert len(told) <= 500


@pytest.mark.parametrize("api", APIS)
async def test_a_key_of_no_known_shape_is_cut_out_too(api: str) -> None:
    odd = "Zx81 local/key"
    async with scripted(api, status(400, f"who is {odd}?"), api_key=odd) as (_, made):
        with pytest.raises(ModelError, match=r"who is \[redacted\]\?"):
            await made.complete(request(), quiet)


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("Bearer tok_abcdefgh", "tok_abcdefgh"),
        ("bob:hunter2hunter2", "hunter2hunter2"),
        ("a=1; session=0a1b2c3d4e5f", "0a1b2c3d4e5f"),
        ("Bearer  tok_abcdefgh", "Bearer  tok_abcdefgh"),
    ],
)
@pytest.mark.parametrize("api", APIS)
async def test_the_token_in_a_header_is_cut_out_alone_too(
    api: str, value: str, quoted: str
) -> None:
    refused = status(401, f"who is {quoted}?")
    async with scripted(api, refused, headers={"X-Gateway": value}) as (_, made):
        with pytest.raises(ModelError, match=r"who is \[redacted\]\?"):
            await made.complete(request(), quiet)


@pytest.mark.parametrize("api", APIS)
async def test_a_text_that_is_no_json_is_refused_before_it_is_sent(api: str) -> None:
    async with scripted(api, say("never")) as (server, made):
        with pytest.raises(ModelError) as caught:
            await made.complete(request(user("x"), system_prompt="\ud800"), quiet)
        assert (caught.value.fault, caught.value.sent) == ("request_rejected", False)
        assert server.journal == []


@pytest.mark.parametrize("api", APIS)
async def test_a_broken_progress_callback_is_a_model_error(api: str) -> None:
    def broken(_: str) -> None:
        raise ZeroDivisionError

    async with scripted(api, say("x")) as (_, made):
        with pytest.raises(ModelError) as caught:
            await made.complete(request(), broken)
    assert caught.value.fault == "unknown"


@given(st.dictionaries(st.sampled_from(["retry-after", "Retry-After-Ms", "x"]), st.text()))
def test_no_header_makes_the_classifier_raise(headers: dict[str, str]) -> None:
    wish = retry_after(headers)
    assert wish is None or 0 <= wish < float("inf")


@pytest.mark.parametrize("value", ["-5", "inf", "nan", "1e999", "", "Wed, 99 Foo", "9" * 400])
def test_junk_is_no_wish_and_the_past_is_now(value: str) -> None:
    assert retry_after({"retry-after": value}) in (None, 0.0)


def test_a_date_in_the_past_is_zero() -> None:
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just("9" * 5_000),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "type", "code", "message"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(JSON, st.none() | st.integers(0, 700))
def test_any_error_body_has_a_class(payload: object, code: int | None) -> None:
    error = from_payload(payload, provider="p", status=code)
    assert error.fault
    assert len(str(error)) <= 500


def test_every_fault_is_transient_skipped_or_final_and_none_is_two() -> None:
    assert not TRANSIENT_FAULTS & SKIP_FAULTS


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ValueError("x"), "corrupt_response"),
        (AssertionError(), "corrupt_response"),
        (KeyError("index"), "corrupt_response"),
        (TimeoutError(), "timeout"),
        (ConnectionResetError(), "connection"),
        (RuntimeError("x"), "unknown"),
        (socket.gaierror("x"), "connection"),
    ],
)
def test_raw_exceptions_have_a_class(error: Exception, fault: str) -> None:
    assert classify(error, provider="p").fault == fault


def test_a_classified_error_stays_as_it_is() -> None:
    error = ModelError("x", fault="unsupported")
    assert classify(error, provider="p") is error


@pytest.mark.parametrize(
    "url", ["http://u:pw12@h/", "http://u:p@pw12@h/", "https://pw12@h", "redis://:pw12@h:1/0"]
)
def test_no_user_information_of_a_url_is_shown(url: str) -> None:
    assert "pw12" not in scrub(f"cannot reach {url} now")
    assert scrub("write to a@b.example or see http://h/a@b") == (
        "write to a@b.example or see http://h/a@b"
    )


def test_a_scrubbed_text_is_one_printable_line() -> None:
    assert scrub("a\r\nb\x1b[31m\u202e") == "a b [31m"
