"""How much of a conversation a fork takes up. Pure: workflow code imports this module."""

from collections.abc import Iterable, Sequence

from executus.message import ImagePart, Message, ToolResultPart
from executus.submit import ACCEPTED, SUBMIT

WRAP_UP = (
    "[executus] The run's spending limit is reached; no more tools will run. Give your best final "
    "answer now from what you have, and say what is missing."
)
CLOSING = (
    "[executus] The limit of {limit} iterations is reached; no more tools will run. Give your best "
    "final answer now from what you have, and say what is missing."
)
PHASES_DONE = " Earlier phases are done; what you need of them is in your instructions."
NOT_RUN = "not run: the run has reached its limit of {limit} iterations"


def whole_turn(messages: Sequence[Message], turn: int) -> int:
    """One past the model turn at `turn`, what its calls brought and the images they attached."""
    end = turn + 1
    while end < len(messages) and (messages[end].role == "tool" or _shows(messages[end])):
        end += 1
    return end


def consistent(messages: Sequence[Message]) -> int:
    """How many there are without a turn at the end whose calls are not all answered yet."""
    end = len(messages)
    turn = _last_turn(messages, end)
    return turn if turn is not None and len(messages[turn].tool_calls) > end - 1 - turn else end


def before_answer(messages: Sequence[Message]) -> int:
    """How many there are before the answer at the end, a text or a result that was handed in.

    And before what a limit made of it: our word that called for an answer, and calls that did not
    run. A fork has limits of its own; told of another's, it would give up at once.
    """
    end = len(messages)
    turn = _last_turn(messages, end)
    if turn is not None and (turn == end - 1 or is_accepted(messages[turn + 1 : end])):
        end = turn
    if end and _calls_for_an_end(messages[end - 1]):
        end -= 1
    turn = _last_turn(messages, end)
    return turn if turn is not None and _cut_off(messages[turn + 1 : end]) else end


def without_phase(message: Message) -> Message:
    """As a fork takes it up, whose instructions do not tell what earlier phases brought.

    So it is shown what they said, and the message that hid that from a phase only says where one
    begins.
    """
    if message.role != "phase":
        return message
    return Message.user(message.text.partition(PHASES_DONE)[0])


def _last_turn(messages: Sequence[Message], end: int) -> int | None:
    """The model turn that those before `end` close with, answers of its calls included."""
    turn = end - 1
    while turn >= 0 and messages[turn].role == "tool":
        turn -= 1
    return turn if turn >= 0 and messages[turn].role == "assistant" else None


def _cut_off(answers: Sequence[Message]) -> bool:
    start = NOT_RUN.partition("{")[0]
    parts = [part for m in answers for part in m.parts if isinstance(part, ToolResultPart)]
    return bool(parts) and all(part.text.startswith(start) for part in parts)


def is_accepted(answers: Iterable[Message]) -> bool:
    """Whether these answers of one turn's calls say that a result was accepted."""
    parts = (part for message in answers for part in message.parts)
    return any(
        isinstance(part, ToolResultPart) and part.name == SUBMIT and part.text == ACCEPTED
        for part in parts
    )


def _shows(message: Message) -> bool:
    return message.role == "user" and any(isinstance(part, ImagePart) for part in message.parts)


def _calls_for_an_end(message: Message) -> bool:
    text = message.text
    ours = text == WRAP_UP or text.startswith(CLOSING.partition("{")[0])
    return message.role == "user" and ours
