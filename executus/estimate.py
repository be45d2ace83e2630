"""Token estimates: for compaction, limits and reservations, before a provider has counted.

Numbers: English prose is about 4 bytes a token, code and JSON about 3, and a byte-level tokenizer
never makes more tokens than bytes (reliability.md D.2). Too many is the safe side: compaction comes
early and a reservation is returned; too few overruns.
"""

from collections.abc import Mapping

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

BYTES_PER_TOKEN = 3
MESSAGE_TOKENS = 8
"""Role, delimiters and ids around each message."""
TOOL_TOKENS = 16
"""Delimiters around each tool's definition."""
IMAGE_TOKENS = 1_600
"""Anthropic's bound for one image at its largest useful size; OpenAI's is below 1,500."""


def text_tokens(text: str) -> int:
    """Estimated tokens of a text."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def part_tokens(part: Part) -> int:
    """Estimated tokens of one part. Every kind counts: an unknown one must not look free."""
    match part:
        case TextPart():
            return text_tokens(part.text)
        case ToolCallPart():
            return text_tokens(part.name) + text_tokens(part.arguments)
        case ToolResultPart():
            return text_tokens(part.name) + text_tokens(part.text)
        case ThinkingPart():
            return max(text_tokens(part.text), text_tokens(part.data) // 2)
        case ImagePart():
            return IMAGE_TOKENS
        case FilePart():
            return len(part.data) // 2


def tool_tokens(name: str, description: str, parameters: Mapping[str, JsonValue]) -> int:
    """Estimated tokens of a tool's definition, which goes with every request."""
    said = text_tokens(name) + text_tokens(description) + text_tokens(str(parameters))
    return TOOL_TOKENS + said


def message_tokens(message: Message) -> int:
    """Estimated tokens of one message."""
    return MESSAGE_TOKENS + sum(part_tokens(part) for part in message.parts)
