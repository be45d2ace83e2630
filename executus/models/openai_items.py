"""The OpenAI Responses request: from messages to input items, and to one body.

Nothing is stored at the provider (`store=false`): reasoning travels with us, encrypted by the
provider.
"""

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
    Caller,
    Json,
    WireFormat,
    cache_key,
    data_url,
    failed_text,
    origin,
    unsupported,
    verbatim,
    wire_id,
    wire_name,
)

FORMAT: WireFormat = "openai-responses"
MIN_OUTPUT = 16
"""The API refuses a smaller `max_output_tokens`."""
NO_REASONING = ("gpt-3", "gpt-4", "chatgpt-")
"""Model name prefixes that refuse to be asked for encrypted reasoning."""
PHASE = "phase"
"""Type of our own item that keeps the label of the assistant message after it. The API wants the
label back with the message, and a text part has no room for it."""


def content(request: ModelRequest, caller: Caller) -> bytes:
    """The whole request body.

    Raises:
        ModelError: it cannot be encoded, or something is in it that the API does not take.
    """
    items = body.all_pieces(request.messages, FORMAT, _encode, caller, origin(caller))
    return body.content(_head(request), "input", items, caller)


def _head(request: ModelRequest) -> Json:
    out: Json = {"model": request.model, "stream": True, "store": False}
    if request.tools:
        out["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
                # The API's default is strict, which refuses most schemas that people write.
                "strict": False,
            }
            for tool in request.tools
        ]
        out["tool_choice"] = request.tool_choice
    if request.system_prompt:
        out["instructions"] = request.system_prompt
    if not request.model.startswith(NO_REASONING):
        out["include"] = ["reasoning.encrypted_content"]
    if request.cache_key:
        out["prompt_cache_key"] = cache_key(request.cache_key)
    if request.output_schema is not None:
        out["text"] = {"format": _format(request.output_schema)}
    out["max_output_tokens"] = max(MIN_OUTPUT, request.max_output_tokens)
    return out


def _format(schema: Json) -> Json:
    return {
        "type": "json_schema",
        "name": "answer",
        "schema": schema,
        "strict": strict_ready(schema),
    }


def _encode(message: Message) -> list[Json]:
    return _assistant(message) if message.role == "assistant" else _other(message)


def _assistant(message: Message) -> list[Json]:
    out: list[Json] = []
    phase: Json = {}
    for part in message.parts:
        match part:
            case ThinkingPart():
                item = verbatim(part, FORMAT)
                if item is not None and item.get("type") == PHASE:
                    phase = {"phase": item["phase"]}
                elif item is not None:
                    out.append(item)
            case TextPart() if part.text:
                out.append({"role": "assistant", "content": part.text, **phase})
                phase = {}
            case ToolCallPart():
                out.append(_call(part))
            case _:
                pass
    # The API refuses reasoning that nothing follows, as a reply cut in its thoughts has.
    while out and out[-1].get("type") == "reasoning":
        out.pop()
    return out


def _call(part: ToolCallPart) -> Json:
    return {
        "type": "function_call",
        "call_id": wire_id(part.id),
        "name": wire_name(part.name),
        "arguments": part.arguments,
    }


def _other(message: Message) -> list[Json]:
    results: list[Json] = [
        {
            "type": "function_call_output",
            "call_id": wire_id(part.call_id),
            "output": failed_text(part),
        }
        for part in message.parts
        if isinstance(part, ToolResultPart)
    ]
    content: list[JsonValue] = [c for part in message.parts if (c := _content(part))]
    return [*results, {"role": "user", "content": content}] if content else results


def _content(part: Part) -> Json | None:
    match part:
        case TextPart():
            return {"type": "input_text", "text": part.text} if part.text else None
        case ImagePart():
            if part.mime not in IMAGES:
                raise unsupported("the OpenAI API", f"an image of type {part.mime}")
            url = data_url(part.mime, part.data)
            return {"type": "input_image", "image_url": url, "detail": "auto"}
        case FilePart():
            return {
                "type": "input_file",
                "filename": part.name,
                "file_data": data_url(part.mime, part.data),
            }
        case _:
            return None
