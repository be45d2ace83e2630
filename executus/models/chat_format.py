"""The Chat Completions request: from messages to chat messages, and to one body."""

import json

from pydantic import JsonValue

from executus.images import IMAGES
from executus.message import (
    FilePart,
    ImagePart,
    Message,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from executus.models import body
from executus.models.provider import ModelRequest
from executus.models.schema_fit import strict_ready
from executus.models.wire import (
    MALFORMED,
    Caller,
    Json,
    WireFormat,
    arguments_object,
    cache_key,
    data_url,
    failed_text,
    origin,
    unsupported,
    verbatim,
    wire_id,
    wire_name,
)

FORMAT: WireFormat = "openai-chat"
EXTRA = "extra_content"
"""Field of a tool call in which Google's servers put the signature of the thought behind it. They
refuse a conversation without it. Of our own item, which keeps it: a list, by the call's place."""
REASONING = ("reasoning_content", "reasoning")
"""Fields in which compatible servers show the reasoning."""


def content(request: ModelRequest, caller: Caller, *, official: bool) -> bytes:
    """The whole request body. `official`: the server is OpenAI and knows every field.

    Raises:
        ModelError: it cannot be encoded, or something is in it that the API does not take.
    """
    system: Json = {"role": "system", "content": request.system_prompt}
    messages = [body.dump(system, caller)] if request.system_prompt else []
    messages += body.all_pieces(request.messages, FORMAT, _encode, caller, origin(caller))
    return body.content(_head(request, official=official), "messages", messages, caller)


def _head(request: ModelRequest, *, official: bool) -> Json:
    out: Json = {
        "model": request.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens" if official else "max_tokens": request.max_output_tokens,
    }
    if request.tools:
        out["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            }
            for tool in request.tools
        ]
        out["tool_choice"] = request.tool_choice
    if official and request.cache_key:
        out["prompt_cache_key"] = cache_key(request.cache_key)
    if request.output_schema is not None:
        out["response_format"] = _format(request.output_schema)
    return out


def _format(schema: Json) -> Json:
    named: Json = {"name": "answer", "schema": schema, "strict": strict_ready(schema)}
    return {"type": "json_schema", "json_schema": named}


def _encode(message: Message) -> list[Json]:
    return _assistant(message) if message.role == "assistant" else _other(message)


def _assistant(message: Message) -> list[Json]:
    if not message.text and not message.tool_calls:
        return []
    out: Json = {"role": "assistant", "content": message.text or None}
    if message.tool_calls:
        # Servers with reasoning want it back while tools are at work, and refuse it elsewhere.
        for part in message.parts:
            if isinstance(part, ThinkingPart):
                out.update(verbatim(part, FORMAT) or {})
        extras = out.pop(EXTRA, None)
        kept = extras if isinstance(extras, list) else []
        made = [_call(call) for call in message.tool_calls]
        for call, extra in zip(made, kept, strict=False):
            if extra:
                call[EXTRA] = extra
        out["tool_calls"] = [*made]
    return [out]


def _call(part: ToolCallPart) -> Json:
    value = arguments_object(part.arguments)
    # Many servers parse the arguments of earlier calls and fail on text that is not an object.
    arguments = json.dumps(value) if MALFORMED in value or not value else part.arguments
    function: Json = {"name": wire_name(part.name), "arguments": arguments}
    return {"id": wire_id(part.id), "type": "function", "function": function}


def _other(message: Message) -> list[Json]:
    results: list[Json] = [
        {"role": "tool", "tool_call_id": wire_id(part.call_id), "content": failed_text(part)}
        for part in message.parts
        if isinstance(part, ToolResultPart)
    ]
    if message.parts and all(isinstance(part, TextPart) for part in message.parts):
        return [{"role": "user", "content": message.text}]
    content: list[JsonValue] = [c for part in message.parts if (c := _content(part))]
    return [*results, {"role": "user", "content": content}] if content else results


def _content(part: Part) -> Json | None:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text} if part.text else None
        case ImagePart():
            if part.mime not in IMAGES:
                raise unsupported("the chat API", f"an image of type {part.mime}")
            return {"type": "image_url", "image_url": {"url": data_url(part.mime, part.data)}}
        case FilePart():
            return _file(part)
        case _:
            return None


def _file(part: FilePart) -> Json:
    if part.mime == "application/pdf":
        data = data_url(part.mime, part.data)
        return {"type": "file", "file": {"filename": part.name, "file_data": data}}
    if part.mime.startswith("text/") or part.mime == "application/json":
        content = part.data.decode("utf-8", "replace")
        return {"type": "text", "text": f"File {part.name}:\n{content}"}
    raise unsupported("the chat API", f"a file of type {part.mime}")
