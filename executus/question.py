"""Questions that a run puts to people: may this tool call be made, and what only they know."""

from collections.abc import Collection, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field, JsonValue

from executus.data import Data
from executus.sanitize import json_text
from executus.steer import MAX_BY

MAX_PATTERN = 200
MAX_MATCHED = 32_768
"""Characters of an argument that a pattern is tried on: 50 ms of a workflow task at worst."""
MAX_NOTE = 2_000
MAX_ANSWER = 20_000


class ApprovalRule(Data):
    """Which tool calls need a person's yes. A call that matches all of it does.

    Patterns are those of a shell: `*`, `?`, `[abc]`; case counts. What no pattern can be tried on
    matches each: a value longer than 32,768 characters, or one that is not of the type that the
    tool's schema says.
    """

    tool: str = Field(default="*", min_length=1, max_length=MAX_PATTERN)
    """Pattern of the tool's name."""
    arguments: dict[str, str] = Field(default_factory=dict, max_length=16)
    """Argument name -> pattern of its value (as JSON text, when it is no text)."""
    over_micro_usd: int | None = Field(default=None, ge=0)
    """Only once the run has spent so much; also when its cost is not known."""

    def matches(
        self,
        tool: str,
        arguments: Mapping[str, JsonValue],
        spent: int | None,
        odd: Collection[str] = (),
    ) -> bool:
        """Whether a call needs approval.

        Args:
            tool: Its name.
            arguments: As the tool takes them: with its defaults.
            spent: Micro-USD so far; None = not known.
            odd: Arguments that are not of the type that the tool's schema says.
        """
        if not fnmatchcase(tool, self.tool):
            return False
        if self.over_micro_usd is not None and spent is not None and spent < self.over_micro_usd:
            return False
        return all(
            name in odd or (name in arguments and _fits(arguments[name], pattern))
            for name, pattern in self.arguments.items()
        )


def _fits(value: JsonValue, pattern: str) -> bool:
    text = value if isinstance(value, str) else json_text(value)
    return len(text) > MAX_MATCHED or fnmatchcase(text, pattern)


QuestionKind = Literal["approval", "answer"]
"""approval: yes or no to a tool call. answer: a text, asked for by the tool `ask_human`."""


class Question(Data):
    """What a run waits for a person to say."""

    step_id: str
    """The tool call that waits: `m3.t1`."""
    kind: QuestionKind
    """What is asked for."""
    tool: str
    """The tool."""
    arguments: str
    """JSON text of its arguments, with escapes for what cannot be seen; hidden for tools with
    secret arguments."""
    text: str = ""
    """What the agent asks, for an `answer`."""
    options: tuple[str, ...] = ()
    """The answers that are allowed; empty = any."""
    digest: str
    """Of run, step, tool and whole arguments: a yes is for exactly this call."""
    asked_at: datetime
    """Workflow time (UTC)."""
    expires_at: datetime
    """When silence becomes a no (UTC)."""


class Decision(Data):
    """Argument of the updates `approve` and `deny`."""

    step_id: str = Field(min_length=1, max_length=64)
    """`Question.step_id`."""
    digest: str = Field(min_length=1, max_length=64)
    """`Question.digest`."""
    by: str = Field(min_length=1, max_length=MAX_BY)
    """Who decides; recorded."""
    note: str = Field(default="", max_length=MAX_NOTE)
    """Why; recorded, and told to the model when it is a no."""


class Answer(Data):
    """Argument of the update `answer`."""

    step_id: str = Field(min_length=1, max_length=64)
    """`Question.step_id`."""
    digest: str = Field(min_length=1, max_length=64)
    """`Question.digest`."""
    by: str = Field(min_length=1, max_length=MAX_BY)
    """Who answers; recorded."""
    text: str = Field(min_length=1, max_length=MAX_ANSWER)
    """The answer, as the model gets it."""
