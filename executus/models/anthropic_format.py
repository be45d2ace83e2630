"""The Anthropic Messages request: from messages to its wire fragments, and to one body.

Each message is encoded once per worker and kept in `WireMessage.wire`. Cache breakpoints are set
on copies: a cached fragment never changes.
"""

import json
from collections.abc import Sequence

from pydantic import JsonValue

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
from executus.models.provider import ModelRequest, WireMessage
from executus.models.wire import (
    Json,
    WireFormat,
    arguments_object,
    base64,
    unsupported,
    verbatim,
    wire_id,
    wire_name,
)
from executus.plan import ToolDef

FORMAT: WireFormat = "anthropic"
IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
BREAKPOINT: Json = {"type": "ephemeral"}
INSTRUCTION = "Your answer must be JSON, and nothing else, that matches this schema:\n{schema}"


def body(request: ModelRequest, output_schema: Json | None) -> Json:
    """The whole request body.

    `output_schema` is the request's in the subset that the API takes; None when there is none or
    it does not fit the subset: then the instructions say what the answer must look like.
    """
    out: Json = {
        "model": request.model,
        "max_tokens": request.max_output_tokens,
        "stream": True,
    }
    if request.tools:
        out["tools"] = _tools(request.tools)
        if request.tool_choice == "none":
            out["tool_choice"] = {"type": "none"}
    system: list[Json] = []
    if request.system_prompt:
        system.append({"type": "text", "text": request.system_prompt})
    if request.output_schema is not None and output_schema is None:
        schema = json.dumps(request.output_schema, ensure_ascii=False)
        system.append({"type": "text", "text": INSTRUCTION.format(schema=schema)})
    if system:
        out["system"] = [*system[:-1], {**system[-1], "cache_control": BREAKPOINT}]
    if output_schema is not None:
        out["output_config"] = {"format": {"type": "json_schema", "schema": output_schema}}
    out["messages"] = _mark(_merge(request.messages))
    return out


def _tools(tools: Sequence[ToolDef]) -> list[JsonValue]:
    out: list[Json] = [
        {"name": t.name, "description": t.description, "input_schema": t.parameters} for t in tools
    ]
    out[-1] = {**out[-1], "cache_control": BREAKPOINT}
    return [*out]


def _merge(messages: Sequence[WireMessage]) -> list[tuple[str, list[JsonValue]]]:
    """One entry per change of role: the API wants all results of a turn in one user message."""
    merged: list[tuple[str, list[JsonValue]]] = []
    for message in messages:
        for fragment in fragments(message):
            role, content = str(fragment["role"]), fragment["content"]
            blocks = content if isinstance(content, list) else []
            if merged and merged[-1][0] == role:
                merged[-1][1].extend(blocks)
            else:
                merged.append((role, list(blocks)))
    return merged


def _mark(merged: list[tuple[str, list[JsonValue]]]) -> list[JsonValue]:
    """Set a breakpoint on the last block, and on the one where the previous call had its own.

    The second one is there because the API looks back only 20 blocks from a breakpoint for an
    earlier entry, and one turn of parallel tool calls may be longer than that.
    """
    users = [i for i, (role, _) in enumerate(merged) if role == "user"]
    for index in {len(merged) - 1, *users[-2:]} if merged else ():
        blocks = merged[index][1]
        last = blocks[-1]
        if isinstance(last, dict):
            blocks[-1] = {**last, "cache_control": BREAKPOINT}
    return [{"role": role, "content": blocks} for role, blocks in merged]


def fragments(message: WireMessage) -> list[Json]:
    """The encoded message: one entry, or none when it has nothing to show."""
    cached = message.wire.get(FORMAT)
    if cached is None:
        cached = message.wire[FORMAT] = _encode(message.message)
    return cached


def _encode(message: Message) -> list[Json]:
    blocks = [block for part in message.parts if (block := _block(part))]
    while blocks and _thinks(blocks[-1]):  # the API refuses a turn that ends in thought
        blocks.pop()
    role = "assistant" if message.role == "assistant" else "user"
    return [{"role": role, "content": [*blocks]}] if blocks else []


def _thinks(block: Json) -> bool:
    return block.get("type") in ("thinking", "redacted_thinking")


def _block(part: Part) -> Json | None:
    match part:
        case TextPart():
            # The API refuses a text block without visible characters.
            return {"type": "text", "text": part.text} if part.text.strip() else None
        case ThinkingPart():
            return verbatim(part, FORMAT)
        case ToolCallPart():
            return {
                "type": "tool_use",
                "id": wire_id(part.id),
                "name": wire_name(part.name),
                "input": arguments_object(part.arguments),
            }
        case ToolResultPart():
            return _result(part)
        case ImagePart():
            return _image(part)
        case FilePart():
            return _file(part)


def _result(part: ToolResultPart) -> Json:
    block: Json = {"type": "tool_result", "tool_use_id": wire_id(part.call_id)}
    if part.text.strip():
        block["content"] = part.text
    if part.outcome != "ok":
        block["is_error"] = True
    return block


def _image(part: ImagePart) -> Json:
    if part.mime not in IMAGES:
        raise unsupported("the Anthropic API", f"an image of type {part.mime}")
    source: Json = {"type": "base64", "media_type": part.mime, "data": base64(part.data)}
    return {"type": "image", "source": source}


def _file(part: FilePart) -> Json:
    if part.mime == "application/pdf":
        source: Json = {"type": "base64", "media_type": part.mime, "data": base64(part.data)}
    elif part.mime.startswith("text/") or part.mime == "application/json":
        text = part.data.decode("utf-8", "replace")
        source = {"type": "text", "media_type": "text/plain", "data": text}
    else:
        raise unsupported("the Anthropic API", f"a file of type {part.mime}")
    return {"type": "document", "source": source, "title": part.name}
