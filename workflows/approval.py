"""Approval: ask people before a tool call is made, or for what only they know."""

from collections.abc import Mapping

from pydantic import JsonValue
from temporalio import workflow

from executus.digest import digest
from executus.json_schema import value_problem
from executus.jsontext import parse_object
from executus.message import ToolCallPart
from executus.plan import RunPlan, ToolDef
from executus.question import Question, QuestionKind
from executus.redact import Redactor, hide_in_arguments
from executus.sanitize import cap_text, clean_line, visible_text
from executus.workflows.questions import Said, expiry
from executus.workflows.run import Run

MAX_SHOWN = 8_000
"""Bytes of arguments that a person is shown; the digest is of all of them."""


class Approval:
    """The questions of one run's tool calls; lives in the workflow."""

    def __init__(self, run: Run, plan: RunPlan, redactor: Redactor) -> None:
        self._run = run
        self._plan = plan
        self._redactor = redactor

    def needed(self, tool: ToolDef, arguments: dict[str, JsonValue]) -> bool:
        """Whether a person has to say yes to this call."""
        if tool.human:
            return False
        if tool.requires_approval or not self._plan.approvals:
            return tool.requires_approval
        spent = self._run.ledger.cost_micro_usd
        named = {name for rule in self._plan.approvals for name in rule.arguments}
        taken = _taken(tool.parameters, arguments)
        odd = [name for name in named & taken.keys() if _is_odd(tool.parameters, name, taken[name])]
        return any(rule.matches(tool.name, taken, spent, odd) for rule in self._plan.approvals)

    async def refusal(self, step_id: str, call: ToolCallPart, tool: ToolDef) -> str | None:
        """Ask; None when the call may be made, else what the model is told."""
        asked = self._question("approval", step_id, call, tool)
        said = await self._ask(asked, f"approval of {tool.name} ({step_id})")
        if said is None:
            self._run.event("approval_expired", f"{tool.name}: nobody decided", step=step_id)
            return f"`{tool.name}` was not approved: nobody decided in time; nothing ran"
        name = "approved" if said.yes else "denied"
        text = f"{tool.name} {name} by {said.by}: {said.text}"
        self._run.event(name, text, step=step_id, by=said.by, note=said.text, digest=asked.digest)
        if said.yes:
            return None
        why = f": {said.text}" if said.text else ""
        return f"`{tool.name}` was denied by {said.by}{why}; nothing ran"

    async def answer(self, step_id: str, call: ToolCallPart, tool: ToolDef) -> tuple[bool, str]:
        """Put the agent's own question to people: whether there is an answer, and the text."""
        problem = value_problem(parse_object(call.arguments), tool.parameters)
        if problem is not None:
            return False, f"invalid arguments for {tool.name}: {problem}; nobody was asked"
        asked = self._question("answer", step_id, call, tool)
        said = await self._ask(asked, f"an answer ({step_id}): {asked.text}")
        if said is None:
            self._run.event("answer_expired", asked.text, step=step_id)
            return False, "nobody answered in time; go on without, or say that you cannot"
        self._run.event("answered", asked.text, step=step_id, by=said.by, answer=said.text)
        return True, said.text

    async def _ask(self, question: Question, what: str) -> Said | None:
        run = self._run
        run.event(f"{question.kind}_asked", what, step=question.step_id, digest=question.digest)
        try:
            run.waiting_for(question.step_id, what)
            return await run.questions.ask(question, run.clock)
        finally:
            run.waiting_for(question.step_id, None)

    def _question(
        self, kind: QuestionKind, step_id: str, call: ToolCallPart, tool: ToolDef
    ) -> Question:
        run = self._run
        arguments = parse_object(call.arguments)
        text = self._redactor.text(str(arguments.get("question", ""))) if tool.human else ""
        options = arguments.get("options") if tool.human else None
        size = len(call.arguments)
        whole = "\n".join((run.key.run_id, step_id, tool.name, tool.digest, call.arguments))
        shown = (
            f"[hidden, {size} bytes]"
            if tool.secret_arguments
            else hide_in_arguments(call.arguments, self._redactor.value, arguments)
        )
        return Question(
            step_id=step_id,
            kind=kind,
            tool=tool.name,
            arguments=cap_text(visible_text(shown), MAX_SHOWN).text,
            text=clean_line(text, 2_000),
            options=tuple(str(o) for o in options) if isinstance(options, list) else (),
            digest=digest(whole.encode()),
            asked_at=workflow.now(),
            expires_at=expiry(self._plan.bounds.approval_seconds, run.clock.deadline_at),
        )


def _taken(schema: Mapping[str, JsonValue], given: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Arguments as the tool takes them: with its defaults for those that are left out."""
    properties = schema.get("properties")
    known = properties.items() if isinstance(properties, dict) else ()
    defaults = {n: p["default"] for n, p in known if isinstance(p, dict) and "default" in p}
    return {**defaults, **given}


def _is_odd(schema: Mapping[str, JsonValue], name: str, value: JsonValue) -> bool:
    """Whether a value is none of its type: a tool may take `yes` or 1 for true all the same."""
    properties = schema.get("properties")
    if not isinstance(properties, dict) or name not in properties:
        return False
    alone = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    wanted: dict[str, JsonValue] = {**alone, "properties": {name: properties[name]}}
    return value_problem({name: value}, wanted) is not None
