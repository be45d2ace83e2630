"""The Anthropic Messages request: from messages to content blocks, and to one body."""

from collections.abc import Sequence

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
from executus.models.provider import ModelRequest, WireMessage
from executus.models.wire import (
    Caller,
    Json,
    WireFormat,
    arguments_object,
    base64,
    origin,
    unsupported,
    verbatim,
    wire_id,
    wire_name,
)
from executus.plan import ToolDef

FORMAT: WireFormat = "anthropic"
BREAKPOINT: Json = {"type": "ephemeral"}
MARK = b',"cache_control":{"type":"ephemeral"}}'
"""The end of an encoded block that has a breakpoint."""


def content(request: ModelRequest, output_schema: Json | None, caller: Caller) -> bytes:
    """The whole request body.

    `output_schema` is the request's in the subset that the API takes.

    Raises:
        ModelError: it cannot be encoded, or something is in it that the API does not take.
    """
    turns = _turns(request.messages, caller, origin(caller, request.model))
    _mark(turns)
    messages = (
        b'{"role":"%b","content":[%b]}' % (role.encode(), b",".join(blocks))
        for role, blocks in turns
    )
    return body.content(_head(request, output_schema), "messages", messages, caller)


def _head(request: ModelRequest, output_schema: Json | None) -> Json:
    out: Json = {
        "model": request.model,
        "max_tokens": request.max_output_tokens,
        "stream": True,
    }
    if request.tools:
        out["tools"] = _tools(request.tools)
        if request.tool_choice == "none":
            out["tool_choice"] = {"type": "none"}
    if request.system_prompt:
        text: Json = {"type": "text", "text": request.system_prompt, "cache_control": BREAKPOINT}
        out["system"] = [text]
    if output_schema is not None:
        out["output_config"] = {"format": {"type": "json_schema", "schema": output_schema}}
    return out


def _tools(tools: Sequence[ToolDef]) -> list[JsonValue]:
    out: list[Json] = [
        {"name": t.name, "description": t.description, "input_schema": t.parameters} for t in tools
    ]
    out[-1] = {**out[-1], "cache_control": BREAKPOINT}
    return [*out]


def _turns(
    messages: Sequence[WireMessage], caller: Caller, reader: str
) -> list[tuple[str, list[bytes]]]:
    """One entry per change of role: the API wants all results of a turn in one user message."""
    turns: list[tuple[str, list[bytes]]] = []
    for message in messages:
        role = "assistant" if message.message.role == "assistant" else "user"
        blocks = body.pieces(message, FORMAT, _encode, caller, reader)
        if blocks and turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        elif blocks:
            turns.append((role, list(blocks)))
    return turns


def _mark(turns: list[tuple[str, list[bytes]]]) -> None:
    """Set a breakpoint on the last block, and on the one where the previous call had its own.

    The second one is there because the API looks back only 20 blocks from a breakpoint for an
    earlier entry, and one turn of parallel tool calls may be longer than that.
    """
    users = [i for i, (role, _) in enumerate(turns) if role == "user"]
    for index in {len(turns) - 1, *users[-2:]} if turns else ():
        blocks = turns[index][1]
        blocks[-1] = blocks[-1][:-1] + MARK


def _encode(message: Message) -> list[Json]:
    """The blocks of a message; none when it has nothing to show."""
    blocks = [block for part in message.parts if (block := _block(part))]
    while blocks and _thinks(blocks[-1]):  # the API refuses a turn that ends in thought
        blocks.pop()
    return blocks


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
