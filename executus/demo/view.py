"""What the offline demo sees in a conversation: the question, and what each tool call brought."""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import JsonValue

from executus.demo.question import Question, read_question
from executus.message import Message, ToolResultPart
from executus.transcript import SUMMARY_HEADER

HIT = re.compile(r"^(.+?):(\d+): (.*)$")


class Done(NamedTuple):
    """A tool call and its result."""

    name: str
    arguments: dict[str, JsonValue]
    result: ToolResultPart | None
    """None when it is not among the messages."""

    @property
    def text(self) -> str:
        """What it brought; empty when it failed."""
        return self.result.text if self.result and self.result.outcome == "ok" else ""


class View(NamedTuple):
    """A conversation, taken apart."""

    question: Question
    done: tuple[Done, ...]
    folded: bool
    """Whether earlier messages were replaced by a summary."""

    def calls(self, name: str) -> list[Done]:
        """The calls of one tool, in order."""
        return [done for done in self.done if done.name == name]

    @property
    def paths(self) -> list[str]:
        """The files that list_files showed."""
        return [path for done in self.calls("list_files") for path in _paths(done.text)]

    @property
    def hits(self) -> dict[str, dict[str, int]]:
        """Search term -> file -> matching lines shown."""
        found: dict[str, dict[str, int]] = {}
        for done in self.calls("search_files"):
            counts = found.setdefault(str(done.arguments.get("text", "")), {})
            for line in done.text.splitlines():
                hit = HIT.match(line)
                if hit:
                    counts[hit[1]] = counts.get(hit[1], 0) + 1
        return found

    @property
    def files(self) -> dict[str, str]:
        """File -> content, of those that were read."""
        read = self.calls("read_file")
        return {str(done.arguments.get("path", "")): done.text for done in read if done.text}

    @property
    def cut(self) -> list[str]:
        """Files of which only a part was read."""
        read = self.calls("read_file")
        return [
            str(done.arguments.get("path", ""))
            for done in read
            if done.result is not None and done.result.truncated
        ]


def view_of(messages: Sequence[Message]) -> View:
    """Take a conversation apart. The question is its first user message that is no summary."""
    asked = [m.text for m in messages if m.role == "user"]
    first = next((text for text in asked if not text.startswith(SUMMARY_HEADER)), "")
    results = {
        part.call_id: part
        for message in messages
        for part in message.parts
        if isinstance(part, ToolResultPart)
    }
    done = tuple(
        Done(call.name, _object(call.arguments), results.get(call.id))
        for message in messages
        for call in message.tool_calls
    )
    folded = any(text.startswith(SUMMARY_HEADER) for text in asked)
    return View(read_question(first), done, folded)


def _object(text: str) -> dict[str, JsonValue]:
    value = _json(text)
    return value if isinstance(value, dict) else {}


def _paths(text: str) -> list[str]:
    value = _json(text)
    entries = value if isinstance(value, list) else []
    return [str(entry.get("path", "")) for entry in entries if isinstance(entry, dict)]


def _json(text: str) -> JsonValue:
    """JSON, or None: a result may be cut in the middle, or an error's words."""
    try:
        value: JsonValue = json.loads(text)
    except ValueError:
        return None
    return value
