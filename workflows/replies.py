"""Replies: what a model's reply without runnable tool calls leads to."""

from pydantic import JsonValue

from executus.contracts import ModelStepOutput
from executus.message import Message, TextPart
from executus.output_schema import answer_value
from executus.status import Reason, Status
from executus.workflows.answer import best_text, final_answer
from executus.workflows.dialogue import Dialogue
from executus.workflows.ending import Ending

CUT = "[executus] Your reply was cut by the length limit; none of its tool calls ran. Be brief."
EMPTY = "[executus] Your last reply was empty. Answer, or call a tool."
INVALID = "[executus] The answer does not match the required JSON schema: {why}. Answer again."


class Replies:
    """Takes replies in. None means that the loop goes on; `last`: that it cannot."""

    def __init__(self, dialogue: Dialogue, max_repairs: int) -> None:
        self._dialogue = dialogue
        self._max_repairs = max_repairs
        self.blanks = 0
        """Empty or cut replies in a row."""
        self.repairs = 0
        """Answers sent back for not matching the schema."""

    def answered(self, reply: ModelStepOutput, *, last: bool) -> Ending | None:
        """A text and no tool call."""
        said = reply.message.text
        output = said if reply.valid else final_answer(said, self._dialogue.own)
        if not output.strip():
            return self._blank(EMPTY, "the model returned an empty reply twice", last=last)
        self._dialogue.reply(reply.message)
        self.blanks = 0
        if reply.invalid is None:
            return Ending(Status.OK, Reason.ANSWER, output, value_of(reply))
        ending = self.rejected(reply.invalid, said or output, last=last)
        if ending is None:
            self._dialogue.nudge(INVALID.format(why=reply.invalid))
        return ending

    def cut(self, reply: ModelStepOutput, *, last: bool) -> Ending | None:
        """A reply cut by length: a cut text is no answer, and no call of it may run."""
        text = reply.message.text
        self._dialogue.reply(Message(role="assistant", parts=(TextPart(text=text or "[cut]"),)))
        if not reply.message.tool_calls and text:
            message = "the answer was cut by the limit of output tokens"
            return Ending(Status.ERROR, Reason.MODEL_INCOMPLETE, text, error=message)
        why = "the model's tool calls were cut by the limit of output tokens"
        return self._blank(CUT, why, last=last)

    def refused(self, reply: ModelStepOutput) -> Ending:
        """The model or its content filter will not do it."""
        text = reply.message.text
        self._dialogue.reply(Message(role="assistant", parts=(TextPart(text=text or "[refused]"),)))
        detail = f": {text[:200]}" if text else ""
        return Ending(
            Status.ERROR,
            Reason.MODEL_REFUSED,
            text or best_text(self._dialogue.own[:-1]),
            error=f"the model refused{detail}",
        )

    def rejected(self, why: str, text: str, *, last: bool) -> Ending | None:
        """A result, `text`, that misses the output schema; it goes back a few times at most."""
        self.repairs += 1
        if self.repairs <= self._max_repairs and not last:
            return None
        message = f"the answer does not match the output schema: {why}"
        return Ending(Status.ERROR, Reason.INVALID_OUTPUT, text, error=message)

    def _blank(self, nudge: str, why: str, *, last: bool) -> Ending | None:
        self.blanks += 1
        if self.blanks > 1 or last:
            return self._dialogue.stopped(Status.ERROR, Reason.MODEL_INCOMPLETE, why)
        self._dialogue.nudge(nudge)
        return None


def value_of(reply: ModelStepOutput) -> JsonValue:
    """The value of an answer in a schema; None when it is none."""
    return answer_value(reply.message.text) if reply.valid else reply.structured
