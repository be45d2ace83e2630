"""Answers in a schema: how a target is asked for one, and whether it gave one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import JsonValue

from executus.contracts import ModelStepOutput
from executus.json_schema import MAX_WHY, value_problem
from executus.jsontext import ArgumentsError
from executus.models.provider import WireMessage
from executus.output_schema import MAX_STRUCTURED, Schema, answer_value
from executus.plan import RunPlan, ToolDef
from executus.sanitize import clean_line, json_text
from executus.submit import HINT, SUBMIT, Submission, submit_tool, submitted

BY_TOOL = f"; hand the result in by calling the tool `{SUBMIT}`"


class Checked(NamedTuple):
    """What became of the check."""

    value: JsonValue
    """The value, when it is valid."""
    invalid: str | None
    """Why it is not."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a target is asked for."""

    system_prompt: str
    tools: Sequence[ToolDef]
    tool_choice: Literal["auto", "none"]
    output_schema: Schema | None
    """Set: the provider's own means are used."""

    @property
    def by_tool(self) -> bool:
        """Whether a text will not do."""
        return self.output_schema is None and any(tool.name == SUBMIT for tool in self.tools)


def wanted(plan: RunPlan, shown: Sequence[WireMessage], *, native: bool, closing: bool) -> Wanted:
    """What to ask of a target that can be held to a schema (`native`), or has to call `submit`."""
    schema, prompt = plan.output_schema, plan.instructions
    if schema is None:
        return Wanted(prompt, plan.tools, "none" if closing else "auto", None)
    tool = submit_tool(schema)
    if native:
        # Where another target has called it before, it is there: a call of a tool that is not is
        # refused by some providers.
        tools = (*plan.tools, tool) if _has_submitted(shown) else plan.tools
        return Wanted(prompt, tools, "none" if closing else "auto", schema)
    prompt = "\n\n".join(text for text in (prompt, HINT) if text)
    return Wanted(prompt, (tool,) if closing else (*plan.tools, tool), "auto", None)


def judged(output: ModelStepOutput, schema: Schema | None, *, by_tool: bool) -> ModelStepOutput:
    """The reply, its answer or its submissions checked when the agent has an output schema.

    The value itself stands in the message, so it is not repeated.
    """
    if schema is None or output.stop not in ("end", "tool_calls"):
        return output
    calls = [call for call in output.message.tool_calls if call.name == SUBMIT]
    if calls:
        made = (
            Submission(call_id=call.id, invalid=check_submission(call.arguments, schema).invalid)
            for call in calls
        )
        return output.model_copy(update={"submissions": tuple(made)})
    if output.message.tool_calls:
        return output
    invalid = check_output(output.message.text, schema).invalid
    if invalid is not None and by_tool:
        invalid += BY_TOOL
    return output.model_copy(update={"valid": invalid is None, "invalid": invalid})


def check_output(text: str, schema: Mapping[str, JsonValue]) -> Checked:
    """Parse `text` as JSON, fence or not, and validate it."""
    try:
        value = answer_value(text)
    except ArgumentsError as error:
        return Checked(None, clean_line(f"not JSON: {error}", MAX_WHY))
    return _matching(value, schema)


def check_submission(arguments: str, schema: Schema) -> Checked:
    """Take the result from the arguments of `submit`, and validate it."""
    try:
        value = submitted(arguments, schema)
    except ArgumentsError as error:
        return Checked(None, clean_line(str(error), MAX_WHY))
    return _matching(value, schema)


def _matching(value: JsonValue, schema: Mapping[str, JsonValue]) -> Checked:
    size = len(json_text(value).encode())
    if size > MAX_STRUCTURED:
        text = f"it has {size:,} bytes; the limit is {MAX_STRUCTURED:,}: make it shorter"
        return Checked(None, text)
    problem = value_problem(value, schema)
    return Checked(value, None) if problem is None else Checked(None, problem)


def _has_submitted(shown: Iterable[WireMessage]) -> bool:
    return any(call.name == SUBMIT for item in shown for call in item.message.tool_calls)
