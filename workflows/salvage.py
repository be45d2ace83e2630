"""Salvage: what a phase that ran out of iterations leaves to the phases after it."""

from collections.abc import Sequence

from executus.message import Message, ToolResultPart

SALVAGE_BYTES = 8_192
"""UTF-8 bytes of a transcript's tail; no character is split."""
HEADER = "[phase `{name}` stopped before its end: {why}. The end of its work:]\n"


def salvage(name: str, why: str, messages: Sequence[Message]) -> str:
    """The phase's closing answer, else the tail of what it said and found.

    Arguments of calls are left out: they may hold secrets, and the next phase may be another
    provider's.
    """
    last = messages[-1] if messages else None
    if last is not None and last.role == "assistant" and not last.tool_calls and last.text.strip():
        return last.text
    return HEADER.format(name=name, why=why) + tail(messages)


def tail(messages: Sequence[Message]) -> str:
    """The newest text of assistant and tools, at most 8,192 bytes of it."""
    lines: list[str] = []
    room = SALVAGE_BYTES
    for message in reversed(messages):
        data = _said(message).encode("utf-8", "replace")
        if not data:
            continue
        lines.append(data[-room:].decode("utf-8", "ignore"))
        room -= len(data) + 1
        if room <= 0:
            break
    return "\n".join(reversed(lines)) or "(nothing)"


def _said(message: Message) -> str:
    if message.role == "assistant":
        return message.text.strip()
    parts = [part for part in message.parts if isinstance(part, ToolResultPart)]
    return "\n".join(f"[{part.name}: {part.outcome}] {part.text}" for part in parts)
