"""What the offline demo sees in a conversation: the question, and what each tool call brought."""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import JsonValue

from executus.demo.question import Question, read_question
from executus.files import ATTACHED, READ_MORE
from executus.message import Message, ToolResultPart
from executus.transcript import SUMMARY_HEADER

HIT = re.compile(r"^(.+?):(\d+): (.*)$")
MORE = "; next: offset="
"""In the line above a page of `read_more` that is not the last one."""


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
    attached: dict[str, str]
    """Id of each attached file -> how it is called in the answer."""

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
        own = ((self._attached(done), done.text.partition("\n")[2]) for done in self.opened)
        read = (
            (str(done.arguments.get("path", "")), done.text) for done in self.calls("read_file")
        )
        return {path: text for path, text in (*own, *read) if text}

    @property
    def opened(self) -> list[Done]:
        """The calls that read attached files."""
        return [done for done in self.calls(READ_MORE) if self._attached(done)]

    @property
    def cut(self) -> list[str]:
        """Files of which only a part was read."""
        paged = [done for done in self.opened if MORE in done.text.partition("\n")[0]]
        read = self.calls("read_file")
        return [self._attached(done) for done in paged] + [
            str(done.arguments.get("path", ""))
            for done in read
            if done.result is not None and done.result.truncated
        ]

    @property
    def unread(self) -> list[str]:
        """Attached files of which nothing was read."""
        return [name for name in self.attached.values() if name not in self.files]

    def _attached(self, done: Done) -> str:
        return self.attached.get(str(done.arguments.get("file_id", "")), "")


def view_of(messages: Sequence[Message]) -> View:
    """Take a conversation apart. The question is its first user message that is no summary."""
    asked = [m.text for m in messages if m.role == "user"]
    first = next((text for text in asked if not text.startswith(SUMMARY_HEADER)), "")
    question, attached = _taken_apart(first)
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
    return View(read_question(question), done, folded, attached)


def _taken_apart(text: str) -> tuple[str, dict[str, str]]:
    """The question, and the files that the block below it names."""
    question, found, block = text.rpartition(f"{ATTACHED}\n")
    if not found:
        return text, {}
    entries = [_object(line) for line in block.splitlines()]
    return question, {
        str(entry["file_id"]): f"attached {entry.get('name', '')}"
        for entry in entries
        if "file_id" in entry
    }


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
