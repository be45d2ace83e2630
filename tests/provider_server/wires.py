"""The three wire formats: a turn as server-sent events, an error as a body."""

import json
from collections.abc import Iterator
from typing import Any, Literal

from tests.provider_server.replies import Call, Raw, Refuse, Say, Status, Think, Tokens, Turn

Api = Literal["anthropic", "openai-responses", "openai-chat"]
PATHS: dict[str, Api] = {
    "/v1/messages": "anthropic",
    "/v1/responses": "openai-responses",
    "/v1/chat/completions": "openai-chat",
}
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
FINISH = {
    "anthropic": {
        "end": "end_turn",
        "tool_calls": "tool_use",
        "length": "max_tokens",
        "refusal": "refusal",
        "content_filter": "refusal",
        "pause": "pause_turn",
    },
    "openai-chat": {
        "end": "stop",
        "tool_calls": "tool_calls",
        "length": "length",
        "refusal": "stop",
        "content_filter": "content_filter",
        "pause": "stop",
    },
}


def position(api: Api, body: dict[str, Any]) -> int:
    """How many assistant turns the request already holds."""
    if api != "openai-responses":
        return sum(m.get("role") == "assistant" for m in body.get("messages", ()))
    turns, inside = 0, False
    for item in body.get("input", ()):
        mine = item.get("role") == "assistant" or item.get("type") in ("function_call", "reasoning")
        turns += mine and not inside
        inside = mine
    return turns


def error_body(api: Api, reply: Status) -> bytes:
    if reply.body is not None:
        return reply.body
    kind = reply.type or TYPES.get(reply.code, "api_error")
    if api == "anthropic":
        error: dict[str, Any] = {"type": kind, "message": reply.message}
        if reply.error_code:
            error["details"] = {"error_code": reply.error_code}
        return json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()
    error = {"message": reply.message, "type": kind, "param": None, "code": reply.error_code}
    return json.dumps({"error": error}).encode()


def events(api: Api, turn: Turn, model: str) -> Iterator[bytes]:
    """The stream, event by event, with the turn's error event or malformed event in place."""
    make = {"anthropic": _anthropic, "openai-responses": _responses, "openai-chat": _chat}[api]
    for n, event in enumerate(make(turn, turn.model or model)):
        if turn.broken and n == turn.after:
            if turn.broken == "malformed":
                yield b'event: message_delta\ndata: {"type": "mess\n\n'
            elif turn.broken in ("error", "failed"):
                yield _error_event(api, turn.error, failed=turn.broken == "failed")
            return
        yield event


def _sse(data: Any, event: str | None = None) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {text}\n\n".encode("utf-8", "surrogatepass")


def _error_event(api: Api, error: dict[str, Any], *, failed: bool) -> bytes:
    if api == "anthropic":
        shown = {k: v for k, v in error.items() if v is not None}
        return _sse({"type": "error", "error": shown}, "error")
    if api == "openai-responses":
        code = error["code"] or error["type"]
        if failed:
            told = {"code": code, "message": error["message"]}
            response = {"id": "resp_1", "status": "failed", "error": told, "output": []}
            return _sse({"type": "response.failed", "response": response}, "response.failed")
        data = {"type": "error", "code": code, "message": error["message"], "param": None}
        return _sse(data, "error")
    return _sse({"error": error})


def _pieces(text: str, size: int) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


# Anthropic Messages


def _anthropic(turn: Turn, model: str) -> Iterator[bytes]:
    def typed(data: dict[str, Any]) -> bytes:
        return _sse(data, data["type"])

    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _anthropic_usage(turn.tokens, output=1),
    }
    yield typed({"type": "message_start", "message": message})
    yield typed({"type": "ping"})
    for index, block in enumerate(turn.blocks):
        start, deltas = _anthropic_block(block, index, turn.piece)
        yield typed({"type": "content_block_start", "index": index, "content_block": start})
        for delta in deltas:
            yield typed({"type": "content_block_delta", "index": index, "delta": delta})
        yield typed({"type": "content_block_stop", "index": index})
    if turn.finish is None:
        return
    reason = turn.reason or FINISH["anthropic"][turn.finish]
    delta = {"stop_reason": reason, "stop_sequence": None}
    usage = _anthropic_usage(turn.tokens)
    yield typed({"type": "message_delta", "delta": delta, "usage": usage})
    yield typed({"type": "message_stop"})


def _anthropic_usage(tokens: Tokens | None, output: int | None = None) -> dict[str, Any]:
    if tokens is None:
        return {}
    usage: dict[str, Any] = {
        "input_tokens": tokens.input - tokens.cache_read - tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation_input_tokens": tokens.cache_write,
        "output_tokens": tokens.output if output is None else output,
    }
    if tokens.reasoning and output is None:
        usage["output_tokens_details"] = {"thinking_tokens": tokens.reasoning}
    return usage


def _anthropic_block(block: Any, index: int, size: int) -> tuple[dict[str, Any], list[Any]]:
    match block:
        case Say(text) | Refuse(text):
            deltas = [{"type": "text_delta", "text": p} for p in _pieces(text, size)]
            return {"type": "text", "text": ""}, deltas
        case Think(_, data, redacted=True):
            return {"type": "redacted_thinking", "data": data}, []
        case Raw(data):
            return data, []
        case Think(text, data):
            deltas = [{"type": "thinking_delta", "thinking": p} for p in _pieces(text, size)]
            deltas.append({"type": "signature_delta", "signature": data})
            return {"type": "thinking", "thinking": "", "signature": ""}, deltas
        case Call(name, arguments, given):
            call_id = f"toolu_{index}" if given is None else given
            start = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
            pieces = _pieces("" if arguments == "{}" else arguments, size)
            return start, [{"type": "input_json_delta", "partial_json": p} for p in pieces]
    raise AssertionError(block)


# OpenAI Responses


def _responses(turn: Turn, model: str) -> Iterator[bytes]:
    number = iter(range(10**9))

    def typed(kind: str, **data: Any) -> bytes:
        return _sse({"type": kind, "sequence_number": next(number), **data}, kind)

    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": model, "error": None}
    response = {**head, "status": "in_progress", "output": [], "incomplete_details": None}
    yield typed("response.created", response=response)
    yield typed("response.in_progress", response=response)
    done = []
    for index, block in enumerate(turn.blocks):
        item, name, pieces = _responses_item(turn, block, index)
        yield typed("response.output_item.added", output_index=index, item=item)
        for piece in pieces:
            yield typed(name, output_index=index, content_index=0, item_id="i", delta=piece)
        if turn.finish == "length" and index == len(turn.blocks) - 1:
            item = {**item, "status": "incomplete"}
        else:
            yield typed("response.output_item.done", output_index=index, item=item)
        done.append(item)
    if turn.finish is None:
        return
    status, reason = "completed", None
    if turn.finish in ("length", "content_filter"):
        status = "incomplete"
        reason = turn.reason or {"length": "max_output_tokens"}.get(turn.finish, turn.finish)
    final = {
        **head,
        "status": status,
        "output": done,
        "incomplete_details": reason and {"reason": reason},
        "usage": _responses_usage(turn.tokens),
    }
    yield typed(f"response.{status}", response=final)


def _responses_usage(tokens: Tokens | None) -> dict[str, Any] | None:
    return tokens and {
        "input_tokens": tokens.input,
        "input_tokens_details": {
            "cached_tokens": tokens.cache_read,
            "cache_write_tokens": tokens.cache_write,
        },
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    }


def _responses_item(turn: Turn, block: Any, index: int) -> tuple[dict[str, Any], str, list[str]]:
    match block:
        case Say(text) | Refuse(text):
            refused = isinstance(block, Refuse)
            kind, key = ("refusal", "refusal") if refused else ("output_text", "text")
            content = [{"type": kind, key: text}]
            item: dict[str, Any] = {
                "type": "message",
                "id": f"msg_{index}",
                "role": "assistant",
                "status": "completed",
                "content": content,
            }
            if turn.phase:
                item["phase"] = turn.phase
            name = "response.refusal.delta" if refused else "response.output_text.delta"
            return item, name, list(_pieces(text, turn.piece))
        case Think(text, data):
            summary = [{"type": "summary_text", "text": text}] if text else []
            item = {"type": "reasoning", "id": f"rs_{index}", "summary": summary}
            item["encrypted_content"] = data
            pieces = list(_pieces(text, turn.piece))
            return item, "response.reasoning_summary_text.delta", pieces
        case Raw(data):
            return data, "response.unheard_of.delta", []
        case Call(name, arguments, given):
            item = {
                "type": "function_call",
                "id": f"fc_{index}",
                "call_id": f"call_{index}" if given is None else given,
                "name": name,
                "arguments": arguments,
                "status": "completed",
            }
            pieces = list(_pieces(arguments, turn.piece))
            return item, "response.function_call_arguments.delta", pieces
    raise AssertionError(block)


# OpenAI Chat Completions


def _chat(turn: Turn, model: str) -> Iterator[bytes]:
    def chunk(delta: dict[str, Any] | None, finish: str | None = None, **data: Any) -> bytes:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
        return _sse({**head, "model": model, "choices": choices, **data})

    yield chunk({"role": "assistant", "content": "", **turn.extra})
    number = 0
    for block in turn.blocks:
        yield from (chunk(delta) for delta in _chat_deltas(block, number, turn.piece))
        number += isinstance(block, Call)
    if turn.finish is None:
        yield _sse("[DONE]")
        return
    yield chunk({}, turn.reason or FINISH["openai-chat"][turn.finish])
    if turn.tokens:
        yield chunk(None, usage=_chat_usage(turn.tokens))
    yield _sse("[DONE]")


def _chat_deltas(block: Any, number: int, size: int) -> Iterator[dict[str, Any]]:
    match block:
        case Say(text):
            yield from ({"content": p} for p in _pieces(text, size))
        case Refuse(text):
            yield from ({"refusal": p} for p in _pieces(text, size))
        case Think(text):
            yield from ({"reasoning_content": p} for p in _pieces(text, size))
        case Raw(data):
            yield data
        case Call(name, arguments, given):
            call_id = f"call_{number}" if given is None else given
            function = {"name": name, "arguments": ""}
            start = {"index": number, "id": call_id, "type": "function", "function": function}
            yield {"tool_calls": [start]}
            for piece in _pieces(arguments, size):
                yield {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}


def _chat_usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {
            "cached_tokens": tokens.cache_read,
            "cache_write_tokens": tokens.cache_write,
        },
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
    }
