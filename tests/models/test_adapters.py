"""The three adapters, there and back: what goes over the wire, and what is read from it."""

import asyncio
import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from anthropic._utils._json import openapi_dumps as anthropic_dumps
from openai._utils._json import openapi_dumps as openai_dumps

from executus.errors import ModelError
from executus.message import (
    FilePart,
    ImagePart,
    Message,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from executus.models.provider import ModelRequest, WireMessage
from executus.usage import Usage
from tests.models.support import (
    ADD,
    APIS,
    KEY,
    PING,
    ask,
    assistant,
    quiet,
    request,
    result,
    scripted,
    user,
    wired,
)
from tests.provider_server import Call, Status, Tokens, Turn, call, calls, say, turn
from tests.provider_server.replies import Raw, Refuse, Say, Think

EACH_API = pytest.mark.parametrize("api", APIS)
CONVERSATION = (
    user("add 1 and 2"),
    assistant(
        TextPart(text="I add."),
        ToolCallPart(id="c1", name="add", arguments='{"a": 1}'),
        ToolCallPart(id="c2", name="ping", arguments="{}"),
    ),
    result("c1", "3"),
    result("c2", "no route", "error"),
)


async def sent(api: str, *messages: Message, **options: Any) -> dict[str, Any]:
    """The body of one request."""
    made = {k: options.pop(k) for k in ("dialect",) if k in options}
    async with scripted(api, *[say("ok")] * 9, **made) as (server, provider):
        await provider.complete(request(*messages, **options), quiet)
        body: dict[str, Any] = server.journal[0].body
        return body


def as_written(*events: dict[str, Any]) -> Status:
    """A stream of exactly these events."""
    lines = (f"event: {e.get('type', 'x')}\ndata: {json.dumps(e)}\n\n" for e in events)
    body = "".join(lines).encode()
    return Status(200, body=body, headers={"content-type": "text/event-stream"})


# What goes out


async def test_anthropic_gets_one_user_message_with_all_results_of_a_turn() -> None:
    body = await sent("anthropic", *CONVERSATION, user("and now?"), system_prompt="Be brief.")
    mark = {"cache_control": {"type": "ephemeral"}}
    assert body == {
        "model": "m",
        "max_tokens": 8192,
        "stream": True,
        "system": [{"type": "text", "text": "Be brief.", **mark}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "add 1 and 2", **mark}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I add."},
                    {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
                    {"type": "tool_use", "id": "c2", "name": "ping", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "3"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "c2",
                        "content": "no route",
                        "is_error": True,
                    },
                    {"type": "text", "text": "and now?", **mark},
                ],
            },
        ],
    }


async def test_responses_gets_a_flat_list_of_items_and_stores_nothing() -> None:
    body = await sent(
        "openai-responses", *CONVERSATION, system_prompt="Be brief.", cache_key="run-1"
    )
    assert body == {
        "model": "m",
        "stream": True,
        "store": False,
        "instructions": "Be brief.",
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "run-1",
        "max_output_tokens": 8192,
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "add 1 and 2"}]},
            {"role": "assistant", "content": "I add."},
            {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'},
            {"type": "function_call", "call_id": "c2", "name": "ping", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "3"},
            {
                "type": "function_call_output",
                "call_id": "c2",
                "output": "[tool failed] no route",
            },
        ],
    }


async def test_chat_gets_one_tool_message_for_each_result() -> None:
    body = await sent(
        "openai-chat",
        *CONVERSATION,
        system_prompt="Be brief.",
        cache_key="r" * 99,
        dialect="openai",
    )
    assert len(body.pop("prompt_cache_key")) <= 64
    assert body == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 8192,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "add 1 and 2"},
            {
                "role": "assistant",
                "content": "I add.",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "add", "arguments": '{"a": 1}'},
                    },
                    {
                        "id": "c2",
                        "type": "function",
                        "function": {"name": "ping", "arguments": "{}"},
                    },
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "3"},
            {"role": "tool", "tool_call_id": "c2", "content": "[tool failed] no route"},
        ],
    }


async def test_a_compatible_server_gets_only_what_every_server_knows() -> None:
    body = await sent("openai-chat", cache_key="run-1")
    assert body["max_tokens"] == 8192
    assert set(body) == {"model", "stream", "stream_options", "max_tokens", "messages"}


@EACH_API
async def test_the_key_is_in_a_header_and_nowhere_else(api: str) -> None:
    async with scripted(api, say("ok")) as (server, provider):
        await provider.complete(request(), quiet)
    exchange = server.journal[0]
    assert KEY in " ".join(exchange.headers.values())
    assert KEY.encode() not in exchange.raw
    assert KEY not in repr(provider) + str(vars(provider).get("_headers"))


@EACH_API
async def test_the_tools_stay_in_the_body_of_the_closing_call(api: str) -> None:
    tools = (ADD, PING)
    open_, closing = [
        await sent(api, tools=tools, tool_choice=choice) for choice in ("auto", "none")
    ]
    assert open_["tools"] == closing["tools"]
    choice = {"type": "none"} if api == "anthropic" else "none"
    assert closing["tool_choice"] == choice
    if api == "openai-responses":
        assert [tool["strict"] for tool in open_["tools"]] == [False, False]
    if api == "anthropic":
        assert open_["tools"][0] == {
            "name": "add",
            "description": "Adds",
            "input_schema": ADD.parameters,
        }


@EACH_API
async def test_without_tools_nothing_is_said_of_tools(api: str) -> None:
    body = await sent(api, tool_choice="none")
    assert "tools" not in body
    assert "tool_choice" not in body


def unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: unmarked(v) for k, v in value.items() if k != "cache_control"}
    return [unmarked(v) for v in value] if isinstance(value, list) else value


@EACH_API
async def test_each_turn_only_appends_to_the_prompt_before_it(api: str) -> None:
    """Byte-stable prefix: breakpoints apart, a request's messages begin with the previous ones."""
    key = "input" if api == "openai-responses" else "messages"
    tools = (ADD, PING)
    messages = wired(*CONVERSATION)
    async with scripted(api, *[call("add", a=1)] * 4) as (server, provider):
        for turn_ in range(3):
            given = ModelRequest("m", "S", messages, tools, timeout=5)
            reply = await provider.complete(given, quiet)
            done = result(reply.message.tool_calls[0].id, f"r{turn_}")
            messages = [*messages, WireMessage(reply.message), WireMessage(done)]
    for first, second in pairwise(server.journal):
        before, after = first.body, second.body
        assert api == "anthropic" or second.raw.startswith(first.raw.removesuffix(b"]}"))
        old, new = unmarked(before[key]), unmarked(after[key])
        assert json.dumps(new)[: len(json.dumps(old)) - 1] == json.dumps(old)[:-1]
        assert list(before) == list(after)
        fixed = set(before) - {key}
        assert {k: before[k] for k in fixed} == {k: after[k] for k in fixed}


@EACH_API
async def test_a_message_is_encoded_once_and_its_bytes_never_change(api: str) -> None:
    messages = wired(*CONVERSATION)
    async with scripted(api, *[say("ok")] * 9) as (server, provider):
        given = ModelRequest("m", "S", messages, (ADD,), timeout=5)
        await provider.complete(given, quiet)
        kept = [message.wire[api] for message in messages]
        await provider.complete(given, quiet)
    assert all(m.wire[api] is k for m, k in zip(messages, kept, strict=True))
    assert not any(b"cache_control" in piece for pieces in kept for piece in pieces)
    assert server.journal[0].raw == server.journal[1].raw


POISON = (
    "\x00 \x1b[31m \x7f \x85 \u2028\u2029 \ufeff \u202eevil \U0001f469\u200d\U0001f680 "
    "\ufffd \uffff "
    '"quoted" \\ back \\u0041 \r\n\t </script> {{ %b %s }} ]}'
)
SDK_DUMPS = {
    "anthropic": anthropic_dumps,
    "openai-responses": openai_dumps,
    "openai-chat": openai_dumps,
}


@EACH_API
async def test_joined_pieces_are_the_bytes_that_the_sdks_own_encoder_makes(api: str) -> None:
    poisoned = (
        user(POISON),
        assistant(
            TextPart(text=POISON),
            ToolCallPart(id="c1", name="add", arguments=json.dumps({"a": POISON})),
            ToolCallPart(id="c2", name="ping", arguments=POISON),
        ),
        result("c1", POISON),
        result("c2", POISON, "error"),
        assistant(),
        user(""),
        user("go on"),
    )
    options = {"system_prompt": POISON, "tools": (ADD, PING), "output_schema": ADD.parameters}
    async with scripted(api, *[say("ok")] * 9) as (server, provider):
        for given in (request(*poisoned, **options), request(assistant()), request(user(POISON))):
            await provider.complete(given, quiet)
    for exchange in server.journal:
        assert exchange.raw == SDK_DUMPS[api](json.loads(exchange.raw))
    assert json.dumps(POISON, ensure_ascii=False).encode() in server.journal[0].raw


@EACH_API
async def test_text_that_is_no_unicode_is_refused_and_nothing_is_sent(api: str) -> None:
    odd = Message.model_construct(
        role="user", parts=(TextPart.model_construct(type="text", text="\ud800"),)
    )
    async with scripted(api, say("ok")) as (server, provider):
        with pytest.raises(ModelError, match="cannot be encoded as JSON") as refused:
            await provider.complete(request(odd), quiet)
        assert (refused.value.fault, refused.value.sent) == ("request_rejected", False)
        assert server.journal == []


def marks(value: Any) -> int:
    if isinstance(value, dict):
        return ("cache_control" in value) + sum(marks(v) for v in value.values())
    return sum(marks(v) for v in value) if isinstance(value, list) else 0


async def test_anthropic_breakpoints_are_system_last_tool_and_the_last_two_user_turns() -> None:
    conversation = (*CONVERSATION, assistant(TextPart(text="x")), user("more"))
    body = await sent("anthropic", *conversation, system_prompt="S", tools=(ADD, PING))
    assert [marks(tool) for tool in body["tools"]] == [0, 1]
    assert marks(body["system"]) == 1
    assert [marks(m["content"][-1:]) for m in body["messages"]] == [0, 0, 1, 0, 1]
    assert marks(body) == 4  # the API takes no more


@EACH_API
async def test_a_turn_cut_in_its_thoughts_leaves_no_thought_at_its_end(api: str) -> None:
    reply = await ask(api, turn(Say("so"), Think("hm", "SIGNED"), finish="length"))
    assert reply.stop == "length"
    only = await ask(api, turn(Think("hm", "SIGNED"), finish="length"))
    for cut in (reply.message, only.message):
        body = await sent(api, user("a"), cut, user("b"))
        assert "SIGNED" not in json.dumps(body)


# Reasoning


@EACH_API
async def test_reasoning_goes_back_verbatim_and_only_to_its_own_format(api: str) -> None:
    asked = calls(Call("add", "{}"), finish="tool_calls")
    thinking = turn(Think("hm", "SIGNED"), *asked.blocks, finish="tool_calls")
    async with scripted(api, thinking, say("ok")) as (server, provider):
        first = await provider.complete(request(), quiet)
        part = first.message.parts[0]
        assert isinstance(part, ThinkingPart)
        assert (part.provider, part.text) == (api, "hm")
        done = result(first.message.tool_calls[0].id, "1")
        await provider.complete(request(user("hello"), first.message, done), quiet)
        body = server.journal[1].body
        own = {
            "anthropic": {"type": "thinking", "thinking": "hm", "signature": "SIGNED"},
            "openai-responses": {
                "type": "reasoning",
                "id": "rs_0",
                "summary": [{"type": "summary_text", "text": "hm"}],
                "encrypted_content": "SIGNED",
            },
            "openai-chat": "hm",
        }[api]
        match api:
            case "anthropic":
                assert body["messages"][1]["content"][0] == own
            case "openai-responses":
                assert body["input"][1] == own
            case _:
                assert body["messages"][1]["reasoning_content"] == own
    for other in set(APIS) - {api}:
        foreign = json.dumps(await sent(other, user("hello"), first.message, done))
        assert "SIGNED" not in foreign
        assert "hm" not in foreign


async def test_redacted_thinking_goes_back_as_it_came() -> None:
    reply = await ask("anthropic", turn(Think("", "OPAQUE", redacted=True), Say("x")))
    body = await sent("anthropic", user("a"), reply.message, user("b"))
    block = {"type": "redacted_thinking", "data": "OPAQUE"}
    assert body["messages"][1]["content"][0] == block


async def test_chat_reasoning_does_not_go_back_with_a_plain_answer() -> None:
    reply = await ask("openai-chat", turn(Think("hm"), Say("x")))
    body = await sent("openai-chat", user("a"), reply.message, user("b"))
    assert "reasoning_content" not in json.dumps(body)


async def test_responses_carries_a_message_label_back() -> None:
    reply = await ask("openai-responses", say("x", phase="commentary"))
    assert reply.message.text == "x"
    body = await sent("openai-responses", user("a"), reply.message, user("b"))
    assert body["input"][1] == {"role": "assistant", "content": "x", "phase": "commentary"}


async def test_older_openai_models_are_not_asked_for_encrypted_reasoning() -> None:
    async with scripted("openai-responses") as (server, provider):
        server.script("gpt-4.1", [say("ok")])
        await provider.complete(request(model="gpt-4.1"), quiet)
    assert "include" not in server.journal[0].body


# Content


@EACH_API
async def test_images_and_files_travel_by_value(api: str) -> None:
    message = Message(
        role="user",
        parts=(
            TextPart(text="look"),
            ImagePart(mime="image/png", data=b"PNG"),
            FilePart(name="a.pdf", mime="application/pdf", data=b"PDF"),
            FilePart(name="b.txt", mime="text/plain", data=b"words"),
        ),
    )
    body = await sent(api, message)
    png, pdf = "UE5H", "UERG"
    match api:
        case "anthropic":
            content = unmarked(body["messages"][0]["content"])
            base = {"type": "base64"}
            assert content[1:] == [
                {"type": "image", "source": {**base, "media_type": "image/png", "data": png}},
                {
                    "type": "document",
                    "source": {**base, "media_type": "application/pdf", "data": pdf},
                    "title": "a.pdf",
                },
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "words"},
                    "title": "b.txt",
                },
            ]
        case "openai-responses":
            pdf_url = f"data:application/pdf;base64,{pdf}"
            assert body["input"][0]["content"][1:3] == [
                {
                    "type": "input_image",
                    "image_url": f"data:image/png;base64,{png}",
                    "detail": "auto",
                },
                {"type": "input_file", "filename": "a.pdf", "file_data": pdf_url},
            ]
        case _:
            content = body["messages"][0]["content"]
            assert content[1]["image_url"] == {"url": f"data:image/png;base64,{png}"}
            assert content[2]["file"]["filename"] == "a.pdf"
            assert content[3] == {"type": "text", "text": "File b.txt:\nwords"}


@EACH_API
async def test_an_image_that_the_api_cannot_read_is_passed_on_unsent(api: str) -> None:
    message = Message(role="user", parts=(ImagePart(mime="image/tiff", data=b"x"),))
    with pytest.raises(ModelError) as caught:
        await ask(api, say("x"), message)
    assert (caught.value.fault, caught.value.sent) == ("unsupported", False)


@EACH_API
async def test_names_and_ids_that_a_model_invented_cannot_break_the_next_request(api: str) -> None:
    odd = ToolCallPart(id="functions.add:0" * 5, name="no such/töol", arguments="[1")
    body = await sent(api, user("a"), assistant(odd), result(odd.id, "unknown tool"))
    text = json.dumps(body)
    match api:
        case "anthropic":
            use = body["messages"][1]["content"][0]
            made, name, answered = use["id"], use["name"], body["messages"][2]["content"][0]
            assert answered["tool_use_id"] == made
            assert use["input"] == {"_malformed_arguments": "[1"}
        case "openai-responses":
            made, name = body["input"][1]["call_id"], body["input"][1]["name"]
            assert body["input"][2]["call_id"] == made
            assert body["input"][1]["arguments"] == "[1"
        case _:
            use = body["messages"][1]["tool_calls"][0]
            made, name = use["id"], use["function"]["name"]
            assert body["messages"][2]["tool_call_id"] == made
            assert json.loads(use["function"]["arguments"]) == {"_malformed_arguments": "[1"}
    assert len(made) <= 40
    assert made.replace("_", "").replace("-", "").isalnum()
    assert name == "no_such_t_ol"
    assert "functions.add" not in text


@EACH_API
async def test_an_unknown_outcome_is_told_as_one(api: str) -> None:
    call_ = ToolCallPart(id="c", name="pay")
    body = await sent(api, user("a"), assistant(call_), result("c", "lost", "unknown"))
    if api == "anthropic":
        assert body["messages"][2]["content"][0]["is_error"] is True
    else:
        assert "[outcome unknown: verify] lost" in json.dumps(body)


@EACH_API
async def test_empty_messages_leave_no_empty_blocks(api: str) -> None:
    body = await sent(api, user("a"), assistant(TextPart(text="")), user("b"))
    key = "input" if api == "openai-responses" else "messages"
    shown = body[key]
    assert [m["role"] for m in shown] == ["user"] * (1 if api == "anthropic" else 2)


async def test_anthropic_takes_an_empty_result() -> None:
    empty = ToolResultPart(call_id="c", name="t", text="")
    body = await sent(
        "anthropic",
        user("a"),
        assistant(ToolCallPart(id="c", name="t")),
        Message(role="tool", parts=(empty,)),
    )
    block = unmarked(body["messages"][2]["content"][0])
    assert block == {"type": "tool_result", "tool_use_id": "c"}


# Structured answers

STRICT = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["n", "tags"],
    "additionalProperties": False,
}
LOOSE = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}


@pytest.mark.parametrize(("schema", "strict"), [(STRICT, True), (LOOSE, False)])
async def test_openai_gets_the_schema_strict_where_it_allows_that(
    schema: Any, strict: bool
) -> None:
    body = await sent("openai-responses", output_schema=schema)
    form = {"name": "answer", "schema": schema, "strict": strict}
    assert body["text"]["format"] == {"type": "json_schema", **form}
    body = await sent("openai-chat", output_schema=schema)
    assert body["response_format"] == {"type": "json_schema", "json_schema": form}


@pytest.mark.parametrize(
    "schema",
    [
        {**STRICT, "required": ["n"]},
        {**STRICT, "additionalProperties": True},
        {**STRICT, "allOf": []},
        {**STRICT, "properties": {"n": {}, "tags": {"type": "array", "items": LOOSE}}},
        {"anyOf": [STRICT]},
        {"type": "array", "items": STRICT},
    ],
)
async def test_a_schema_that_strict_mode_refuses_is_not_sent_as_strict(schema: Any) -> None:
    body = await sent("openai-responses", output_schema=schema)
    assert body["text"]["format"]["strict"] is False


async def test_anthropic_gets_the_schema_in_the_subset_it_takes() -> None:
    body = await sent("anthropic", output_schema=LOOSE)
    form = body["output_config"]["format"]
    assert form["type"] == "json_schema"
    assert form["schema"]["additionalProperties"] is False
    assert "minimum" not in form["schema"]["properties"]["n"]
    assert LOOSE["properties"] == {"n": {"type": "integer", "minimum": 1}}


async def test_anthropic_refuses_a_schema_that_does_not_fit_the_subset() -> None:
    schema = {"type": ["object", "null"], "properties": {"n": {"type": "integer"}}}
    with pytest.raises(ModelError) as caught:
        await sent("anthropic", output_schema=schema)
    assert (caught.value.fault, caught.value.sent) == ("unsupported", False)


# What comes back


@EACH_API
async def test_a_reply_is_read_whole_and_in_order(api: str) -> None:
    pieces: list[str] = []
    reply_ = calls(Call("add", '{"a": 1}'), Call("ping"), text="I add both numbers.", piece=5)
    async with scripted(api, reply_) as (_, provider):
        reply = await provider.complete(request(), pieces.append)
    assert "".join(pieces) == reply.message.text == "I add both numbers."
    assert len(pieces) > 1
    assert [(c.name, c.arguments) for c in reply.message.tool_calls] == [
        ("add", '{"a": 1}'),
        ("ping", "{}"),
    ]
    assert (reply.stop, reply.model) == ("tool_calls", "m")


@EACH_API
async def test_the_order_of_the_parts_is_the_providers(api: str) -> None:
    reply = await ask(api, turn(Call("add"), Say("done"), finish="tool_calls"))
    kinds = [part.type for part in reply.message.parts]
    # A chat message has one text field before its list of calls: the format has no order.
    assert kinds == (["text", "tool_call"] if api == "openai-chat" else ["tool_call", "text"])


@pytest.mark.parametrize(
    ("reply", "stop"),
    [
        (say("x"), "end"),
        (say(""), "end"),
        (say("x", finish="pause"), "end"),
        (say("x", finish="length"), "length"),
        (say("x", finish="content_filter"), "refusal"),
        (turn(Refuse("I will not."), finish="refusal"), "refusal"),
        (calls(Call("add", '{"a": ')), "tool_calls"),
        (calls(Call("add", '{"a": '), finish="length"), "length"),
        (calls(Call("add"), finish="content_filter"), "refusal"),
        (calls(Call("add"), finish="end"), "tool_calls"),
    ],
)
@EACH_API
async def test_why_the_model_stopped(reply: Turn, stop: str, api: str) -> None:
    got = await ask(api, reply)
    assert got.stop == stop


WITH_REASONS = pytest.mark.parametrize("api", ["anthropic", "openai-chat"])


@pytest.mark.parametrize("reason", ["stop", "eos", "eos_token", "end_turn", "STOP", "tool_use"])
@WITH_REASONS
async def test_servers_name_an_end_in_many_ways(api: str, reason: str) -> None:
    assert (await ask(api, say("x", reason=reason))).stop == "end"
    assert (await ask(api, calls(Call("add"), reason=reason))).stop == "tool_calls"


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("model_length", "length"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "refusal"),
        ("content_filter", "refusal"),
    ],
)
@WITH_REASONS
async def test_a_tool_call_of_a_cut_reply_is_none_to_run(api: str, reason: str, stop: str) -> None:
    assert (await ask(api, calls(Call("add"), reason=reason))).stop == stop


@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        ("error", "overloaded"),
        ("insufficient_system_resource", "overloaded"),
        ("abort", "incomplete_response"),
        ("Cancelled", "incomplete_response"),
    ],
)
@pytest.mark.parametrize("made", [say("half an ans"), calls(Call("add"))], ids=["text", "call"])
@WITH_REASONS
async def test_a_reason_that_is_no_end_is_no_reply(
    api: str, made: Turn, reason: str, fault: str
) -> None:
    with pytest.raises(ModelError, match=f'for the reason "{reason}"') as caught:
        await ask(api, replace(made, reason=reason))
    assert caught.value.fault == fault


@WITH_REASONS
async def test_of_a_reason_that_is_new_to_us_a_text_is_kept_and_no_call_runs(api: str) -> None:
    assert (await ask(api, say("paid for", reason="lunch"))).stop == "end"
    assert (await ask(api, calls(Call("add"), reason="lunch"))).stop == "length"


CALL = {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"}


@pytest.mark.parametrize(
    ("response", "ends"),
    [
        ({"status": "completed", "output": [{**CALL, "status": "completed"}]}, "tool_calls"),
        ({"status": "in_progress", "output": [CALL]}, "tool_calls"),
        (
            {
                "status": "incomplete",
                "incomplete_details": {"reason": "max_output_tokens"},
                "output": [CALL],
            },
            "length",
        ),
        ({"status": "incomplete", "output": [CALL]}, "incomplete_response"),
        (
            {
                "status": "incomplete",
                "incomplete_details": {"reason": "stop"},
                "output": [CALL],
            },
            "incomplete_response",
        ),
        ({"status": "cancelled", "output": [CALL]}, "incomplete_response"),
        ({"status": "failed", "error": {"code": "server_error"}, "output": [CALL]}, "overloaded"),
        (
            {"status": "completed", "output": [{**CALL, "status": "incomplete"}]},
            "incomplete_response",
        ),
    ],
)
async def test_a_response_is_complete_only_when_its_status_says_so_too(
    response: dict[str, Any], ends: str
) -> None:
    reply = as_written({"type": "response.completed", "response": response})
    try:
        assert (await ask("openai-responses", reply)).stop == ends
    except ModelError as error:
        assert error.fault == ends  # noqa: PT017 - either is an ending


async def test_a_full_context_window_cuts_like_a_length() -> None:
    reply = await ask("anthropic", say("x", reason="model_context_window_exceeded"))
    assert reply.stop == "length"


@EACH_API
async def test_one_provider_serves_many_calls_at_once_each_its_own(api: str) -> None:
    async with scripted(api) as (server, provider):
        server.script("m", lambda seen: say(json.dumps(seen.body)[-90:]))
        asked = [request(user(f"question {n:04}")) for n in range(40)]
        replies = await asyncio.gather(*(provider.complete(one, quiet) for one in asked))
    for n, reply in enumerate(replies):
        assert f"question {n:04}" in reply.message.text


@EACH_API
async def test_what_we_never_asked_for_is_left_out(api: str) -> None:
    odd = Raw({"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"q": "x"}})
    reply = await ask(api, turn(odd, Say("x"), odd))
    assert [part.type for part in reply.message.parts] == ["text"]
    assert reply.stop == "end"


async def test_anthropic_input_given_whole_is_kept() -> None:
    whole = Raw({"type": "tool_use", "id": "t", "name": "add", "input": {"a": 1}})
    reply = await ask("anthropic", turn(whole, finish="tool_calls"))
    assert reply.message.tool_calls[0].arguments == '{"a":1}'


@EACH_API
async def test_bad_arguments_come_through_as_the_model_wrote_them(api: str) -> None:
    reply = await ask(api, calls(Call("add", '{"a": 1')))
    assert reply.message.tool_calls[0].arguments == '{"a": 1'


@pytest.mark.parametrize(
    "odd",
    [
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": "\\ud83d"}',
        '{"a": 1, "a": 2}',
        "[" * 9_000,
    ],
)
@EACH_API
async def test_no_arguments_that_a_model_wrote_break_the_next_request(api: str, odd: str) -> None:
    async with scripted(api, calls(Call("add", odd)), say("ok")) as (server, provider):
        made = (await provider.complete(request(), quiet)).message
        refused = result(made.tool_calls[0].id, "invalid arguments", "error")
        reply = await provider.complete(request(user("go"), made, refused), quiet)
    assert made.tool_calls[0].arguments == odd
    assert reply.message.text == "ok"
    if api != "openai-responses":  # which takes any text
        assert "_malformed_arguments" in server.journal[1].raw.decode()


@EACH_API
async def test_blank_arguments_go_back_as_an_empty_object(api: str) -> None:
    body = await sent(api, user("go"), assistant(ToolCallPart(id="c", name="add", arguments=" ")))
    if api != "openai-responses":
        assert "_malformed_arguments" not in json.dumps(body)
    if api == "openai-chat":
        assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize("api", ["anthropic", "openai-responses"])
async def test_reasoning_that_is_no_json_is_not_carried_back(api: str) -> None:
    kind = "redacted_thinking" if api == "anthropic" else "reasoning"
    odd = Raw({"type": kind, "data": "x", "score": float("nan")})
    async with scripted(api, turn(odd, Say("so")), say("ok")) as (_, provider):
        made = (await provider.complete(request(), quiet)).message
        reply = await provider.complete(request(user("go"), made, user("on")), quiet)
    assert [part.type for part in made.parts] == ["text"]
    assert reply.message.text == "ok"


@EACH_API
async def test_a_missing_call_id_is_made_up_and_a_double_one_kept(api: str) -> None:
    reply = await ask(api, calls(Call("add", id=""), Call("add", '{"a": 2}', id="")))
    ids = [c.id for c in reply.message.tool_calls]
    assert all(ids)
    assert len(set(ids)) == 2
    reply = await ask(api, calls(Call("add", id="x"), Call("ping", id="x")))
    assert [(c.id, c.name) for c in reply.message.tool_calls] == [("x", "add"), ("x", "ping")]


@EACH_API
async def test_usage_is_totals_and_their_portions(api: str) -> None:
    tokens = Tokens(input=1000, output=50, cache_read=600, cache_write=100, reasoning=30)
    reply = await ask(api, say("x", tokens=tokens))
    assert reply.usage == Usage(
        input_tokens=1000,
        output_tokens=50,
        cache_read_tokens=600,
        cache_write_tokens=100,
        reasoning_tokens=30,
        model_calls=1,
    )


@EACH_API
async def test_usage_that_is_all_cache_is_counted(api: str) -> None:
    tokens = Tokens(input=700, output=0, cache_read=600, cache_write=100)
    usage = (await ask(api, say("x", tokens=tokens))).usage
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens) == (
        700,
        600,
        100,
    )


@EACH_API
async def test_counts_that_cannot_be_are_none(api: str) -> None:
    reply = await ask(api, say("x", tokens=Tokens(input=-5, output=-1, cache_read=-2)))
    assert reply.usage.output_tokens in (0, 1)
    assert reply.usage.cache_read_tokens == 0


@EACH_API
async def test_a_server_without_usage_is_metered_by_estimate(api: str) -> None:
    reply = await ask(api, say("x" * 400, tokens=None), user("y" * 4000))
    assert 1000 < reply.usage.input_tokens < 1100
    assert reply.usage.output_tokens == 100
    quoted = calls(Call("add", '{"a": "' + "1" * 391 + '"}'), tokens=None)
    reply = await ask(api, quoted, user("y" * 4000))
    assert 100 <= reply.usage.output_tokens <= 101


@EACH_API
async def test_a_count_that_is_missing_is_estimated_beside_one_that_is_there(api: str) -> None:
    reply = await ask(api, say("x" * 400, tokens=Tokens(input=0, output=7)), user("y" * 4000))
    assert 1000 < reply.usage.input_tokens < 1100
    assert reply.usage.output_tokens == 7
    reply = await ask(api, say("x" * 400, tokens=Tokens(input=7, output=0)), user("y" * 4000))
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (7, 100)
    reply = await ask(api, say("", tokens=Tokens(input=7, output=0)))
    assert reply.usage.output_tokens == 0


async def test_the_placeholder_at_the_start_of_an_anthropic_stream_is_no_count() -> None:
    started = {"model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}
    reply = await ask(
        "anthropic",
        as_written(
            {"type": "message_start", "message": started},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": "x" * 400},
            },
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": None},
            {"type": "message_stop"},
        ),
    )
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (9, 100)


@EACH_API
async def test_what_comes_whole_is_metered_too(api: str) -> None:
    whole = {
        "anthropic": Raw({"type": "text", "text": "x" * 400}),
        "openai-responses": Raw(
            {"type": "message", "content": [{"type": "output_text", "text": "x" * 400}]}
        ),
        "openai-chat": Raw({"content": "x" * 400}),
    }
    assert (await ask(api, turn(whole[api], tokens=None))).usage.output_tokens == 100


@EACH_API
async def test_the_model_that_the_provider_reports_is_kept(api: str) -> None:
    assert (await ask(api, say("x", model="m-2026-01-01"))).model == "m-2026-01-01"


@EACH_API
async def test_text_over_a_megabyte_is_cut_with_a_mark_and_not_refused(api: str) -> None:
    reply = await ask(api, say("x" * 1_500_000, piece=100_000))
    assert len(reply.message.text) <= 1_000_000
    assert "bytes cut" in reply.message.text


@EACH_API
async def test_what_no_store_takes_is_cleaned(api: str) -> None:
    reply = await ask(api, say("a\x00b"))
    assert reply.message.text == "a\N{REPLACEMENT CHARACTER}b"


@EACH_API
async def test_one_provider_keeps_one_connection_for_calls_in_a_row(api: str) -> None:
    async with scripted(api, *[say("ok")] * 9) as (server, provider):
        for _ in range(5):
            await provider.complete(request(), quiet)
        assert server.connections == 1
        await provider.close()
        await provider.complete(request(), quiet)  # and opens again after a close
        assert server.connections == 2


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_the_reasoning_of_compatible_servers_is_kept_apart(field: str) -> None:
    reply = await ask("openai-chat", say("x", extra={field: "hm", "odd": [1]}))
    assert [part.type for part in reply.message.parts] == ["thinking", "text"]
    assert reply.message.text == "x"


async def test_two_chat_calls_under_one_index_are_two_calls() -> None:
    both = [
        {"index": 0, "id": "a", "function": {"name": "add", "arguments": "{}"}},
        {"index": 0, "id": "b", "function": {"name": "ping", "arguments": "{}"}},
    ]
    reply = await ask("openai-chat", say("", extra={"tool_calls": both}, finish="tool_calls"))
    assert [c.id for c in reply.message.tool_calls] == ["a", "b"]


async def test_chat_calls_without_an_index_are_told_apart_by_id() -> None:
    both = [
        {"id": "a", "function": {"name": "add", "arguments": '{"a"'}},
        {"function": {"arguments": ": 1}"}},
        {"id": "b", "function": {"name": "ping", "arguments": "{}"}},
    ]
    reply = await ask("openai-chat", say("", extra={"tool_calls": both}, finish="tool_calls"))
    assert [(c.id, c.arguments) for c in reply.message.tool_calls] == [
        ("a", '{"a": 1}'),
        ("b", "{}"),
    ]


async def test_chat_arguments_that_come_as_an_object_are_its_text() -> None:
    whole = {"id": "a", "function": {"name": "add", "arguments": {"a": 1, "b": "ü"}}}
    begun = {"id": "b", "function": {"name": "add", "arguments": {}}}
    more = {"function": {"arguments": '{"a": 2}'}}
    none = {"id": "c", "function": {"name": "ping", "arguments": {}}}
    made = {"tool_calls": [whole, begun, more, none]}
    reply = await ask("openai-chat", say("", extra=made, finish="tool_calls"))
    assert [(c.id, c.arguments) for c in reply.message.tool_calls] == [
        ("a", '{"a":1,"b":"ü"}'),
        ("b", '{"a": 2}'),
        ("c", "{}"),
    ]


async def test_so_are_those_of_a_response() -> None:
    whole = Raw({**CALL, "arguments": {"a": 1}})
    reply = await ask("openai-responses", turn(whole, Raw({**CALL, "arguments": {}})))
    assert [c.arguments for c in reply.message.tool_calls] == ['{"a":1}', "{}"]
