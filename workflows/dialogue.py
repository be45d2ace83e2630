"""Dialogue: what is said in a loop, and about how many tokens the next call would send."""

from collections.abc import Callable
from datetime import datetime

from executus.estimate import message_tokens, text_tokens, tool_tokens
from executus.message import Message, ToolResultPart
from executus.plan import RunPlan
from executus.status import Reason, Status
from executus.transcript import Transcript
from executus.workflows.answer import best_text
from executus.workflows.compaction import view_tokens
from executus.workflows.ending import Ending
from executus.workflows.ledger import Ledger


class Dialogue:
    """The transcript as the loop writes it: appended, never edited, so prompt caches stay warm."""

    def __init__(
        self,
        plan: RunPlan,
        transcript: Transcript,
        ledger: Ledger,
        now: Callable[[], datetime],
        since: int = 0,
    ) -> None:
        """`since`: messages before it are another phase's."""
        self._plan = plan
        self._transcript = transcript
        self._ledger = ledger
        self._now = now
        self._since = since
        self.turn = ""
        """Step id of the model turn whose reply is taken in."""
        self._measured: tuple[int, int] | None = None  # (messages, tokens) the provider counted

    def __len__(self) -> int:
        return len(self._transcript)

    @property
    def messages(self) -> list[Message]:
        """All of them, in order."""
        return self._transcript.messages

    @property
    def own(self) -> list[Message]:
        """Those of this loop: what another phase said is no answer of this one."""
        return self.messages[self._since :] if self._since else self.messages

    def say(self, message: Message, step_id: str = "") -> None:
        """Append a message; `step_id`: the step that brought it."""
        if step_id:
            self._ledger.messages[step_id] = len(self._transcript)
        self._transcript.append(message)

    def reply(self, message: Message) -> None:
        """Append what the newest model turn said."""
        self.say(message, self.turn)

    def answer(self, result: ToolResultPart) -> None:
        """Append the answer of a tool call."""
        self.say(Message(role="tool", parts=(result,)))

    def tell(self, text: str, event: str, **content: str) -> None:
        """Append a user message that no user wrote in the prompt, and note it as an event."""
        self._ledger.event(event, text, self._now(), **content)
        self.say(Message.user(text))

    def nudge(self, text: str) -> None:
        """Append a message of ours."""
        self.tell(text, "nudge")

    def stopped(self, status: Status, reason: Reason, error: str) -> Ending:
        """An ending without an answer: the best text so far is its output."""
        return Ending(status, reason, best_text(self.own), error=error)

    # -- tokens --------------------------------------------------------------------------------

    def counted(self, messages: int, tokens: int) -> None:
        """The provider counted so many tokens for the first `messages`."""
        self._measured = (messages, tokens)

    def recount(self) -> None:
        """What the provider counted holds no longer: something was folded."""
        self._measured = None

    def input_tokens(self) -> int:
        """Tokens the next call would send: as the provider last counted, plus what is new."""
        if self._measured is not None:
            count, tokens = self._measured
            return tokens + sum(message_tokens(m) for m in self.messages[count:])
        fixed = text_tokens(self._plan.instructions) + sum(
            tool_tokens(tool.name, tool.description, tool.parameters) for tool in self._plan.tools
        )
        schema = self._plan.output_schema
        fixed += text_tokens(str(schema)) if schema is not None else 0
        return fixed + view_tokens(self.messages)
