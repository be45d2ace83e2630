"""Submissions: what calls of `submit` in a reply lead to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from executus.contracts import ModelStepOutput
from executus.message import ToolResultPart
from executus.output_schema import Schema
from executus.sanitize import json_text
from executus.status import Reason, Status
from executus.submit import ACCEPTED, submitted
from executus.workflows.ending import Ending

LATE = "ignored: the first result that matched was accepted"
BESIDE = "not run: a result was handed in beside this call, and ended the run"
INVALID = "not accepted: {why}. Correct it and call `{name}` again"
SET_ASIDE = "set aside: there is a new message for you; hand in the result again once you read it"


@dataclass(frozen=True, slots=True)
class Submissions:
    """Those of one reply. The first that matches wins, whatever else the reply asks for."""

    answers: Mapping[str, ToolResultPart] = field(default_factory=dict[str, ToolResultPart])
    """Call id -> what the model is told, without running anything."""
    ending: Ending | None = None
    """The run's, when one was accepted; then every call of the reply has its answer."""
    why: str | None = None
    """Why none was, when there were any."""
    text: str = ""
    """The newest of them, as the model wrote it."""


NONE = Submissions()
"""One for all replies without any."""


def handed_in(
    reply: ModelStepOutput, schema: Schema | None, *, set_aside: bool = False
) -> Submissions:
    """Sort the submissions that the model step has checked.

    `set_aside`: the model is to hear something first, so that none is accepted now.
    """
    if schema is None or not reply.submissions:
        return NONE
    invalid = {found.call_id: found.invalid for found in reply.submissions}
    answers: dict[str, ToolResultPart] = {}
    ending: Ending | None = None
    text = ""
    for call in reply.message.tool_calls:
        if call.id not in invalid:
            continue
        text, why = call.arguments, invalid[call.id]
        if set_aside:
            answers[call.id] = ToolResultPart.of(call.id, call.name, SET_ASIDE, "error")
        elif ending is not None:
            answers[call.id] = ToolResultPart.of(call.id, call.name, LATE, "error")
        elif why is not None:
            said = INVALID.format(why=why, name=call.name)
            answers[call.id] = ToolResultPart.of(call.id, call.name, said, "error")
        else:
            value = submitted(call.arguments, schema)
            ending = Ending(Status.OK, Reason.ANSWER, json_text(value), value)
            answers[call.id] = ToolResultPart.of(call.id, call.name, ACCEPTED, "ok")
    if ending is not None:
        for call in reply.message.tool_calls:
            part = ToolResultPart.of(call.id, call.name, BESIDE, "error")
            answers.setdefault(call.id, part)
    why = next((w for w in invalid.values() if w is not None), None)
    return Submissions(answers, ending, None if ending or set_aside else why, text)
