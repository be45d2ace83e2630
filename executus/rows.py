"""Audit rows of steps: built alike by the activity that did the work and by a late close."""

from collections.abc import Collection
from datetime import datetime

from pydantic import JsonValue

from executus.audit import AuditRow
from executus.contracts import ModelStepOutput
from executus.critic_look import CriticSeen
from executus.message import Message, ToolResultPart
from executus.sanitize import clean_line
from executus.step import MAX_SUMMARY, StepRecord
from executus.usage import Usage


def hidden(arguments: str) -> str:
    """What stands in for a call's arguments where nobody may see them."""
    return f"[redacted {len(arguments)}]"


def row_key(step_id: str, attempt: int) -> str:
    """Key of a step's row: each attempt has its own, since a lost one may have been paid for."""
    return f"{step_id}#{attempt}"


def model_row(
    step_id: str,
    kind: str,
    output: ModelStepOutput,
    at: datetime,
    seconds: float,
    *,
    phase: str = "",
    secret: Collection[str],
) -> AuditRow:
    """Row of a model step, from its output. `secret`: tools whose arguments are hidden."""
    row = _message_row(
        row_key(step_id, output.attempt),
        output.message,
        kind=kind,
        spec=output.spec,
        at=at,
        seconds=seconds,
        usage=output.usage,
        cost_micro_usd=output.cost_micro_usd,
        secret=secret,
    )
    return in_phase(row, phase)


def in_phase(row: AuditRow, phase: str) -> AuditRow:
    """The row with the phase it belongs to, if any."""
    if not phase:
        return row
    return row.model_copy(update={"content": {"phase": phase, **row.content}})


def tool_row(
    step_id: str,
    attempt: int,
    *,
    name: str,
    arguments: str,
    result: ToolResultPart,
    at: datetime,
    seconds: float,
    summary: str,
) -> AuditRow:
    """Row of a tool call."""
    status = {"ok": "complete", "error": "error", "unknown": "unknown"}[result.outcome]
    return AuditRow(
        key=row_key(step_id, attempt),
        kind="tool",
        name=name,
        status=status,
        at=at,
        seconds=seconds,
        summary=summary[:200],
        content={
            "arguments": arguments,
            "result": result.text,
            "result_bytes": result.bytes,
            "result_digest": result.digest,
            "truncated": result.truncated,
            **({"file_id": result.file_id} if result.file_id else {}),
        },
    )


def critic_row(step_id: str, seen: CriticSeen, at: datetime, seconds: float) -> AuditRow:
    """Row of a decision on a run, or of the failure to make one."""
    decision = seen.decision
    return AuditRow(
        key=row_key(step_id, seen.attempt),
        kind="critic",
        name=seen.spec or "critic",
        status="error" if decision is None else "complete",
        at=at,
        seconds=seconds,
        summary=clean_line(seen.summary, MAX_SUMMARY),
        content={"failed": seen.failed}
        if decision is None
        else decision.model_dump(mode="json", exclude_defaults=True),
        usage=seen.usage,
        cost_micro_usd=seen.cost_micro_usd,
    )


def late_row(
    step: StepRecord,
    attempt: int,
    message: Message | None,
    arguments: str,
    *,
    secret: Collection[str],
) -> AuditRow:
    """Row of a step that its activity could not write: a lost attempt, or an audit outage.

    `secret`: tools whose arguments are hidden.
    """
    if arguments and step.kind.removeprefix("tool.") in secret:
        arguments = hidden(arguments)
    return in_phase(_late_row(step, attempt, message, arguments, secret), step.phase)


def _late_row(
    step: StepRecord,
    attempt: int,
    message: Message | None,
    arguments: str,
    secret: Collection[str],
) -> AuditRow:
    at = step.ended_at or step.started_at
    seconds = (at - step.started_at).total_seconds()
    key = row_key(step.id, attempt)
    if step.kind.startswith("tool.") and message is not None:
        result = next(p for p in message.parts if isinstance(p, ToolResultPart))
        name = step.kind.removeprefix("tool.")
        row = tool_row(
            step.id,
            attempt,
            name=name,
            arguments=arguments,
            result=result,
            at=at,
            seconds=seconds,
            summary=step.summary,
        )
        return row.model_copy(update={"status": step.status})
    if message is not None:
        return _message_row(
            key,
            message,
            kind=step.kind,
            spec=step.model,
            at=at,
            seconds=seconds,
            usage=step.usage,
            cost_micro_usd=step.cost_micro_usd,
            summary=step.summary,
            secret=secret,
        )
    kind = "tool" if step.kind.startswith("tool.") else step.kind
    content: dict[str, JsonValue] = {"arguments": arguments} if arguments else {}
    return AuditRow(
        key=key,
        kind=kind,  # pyright: ignore[reportArgumentType] - `model` or `compact` otherwise
        name=step.model or step.kind.removeprefix("tool."),
        status=step.status,
        at=at,
        seconds=seconds,
        summary=step.summary,
        content=content,
        usage=step.usage,
        cost_micro_usd=step.cost_micro_usd,
    )


def _message_row(
    key: str,
    message: Message,
    *,
    kind: str,
    spec: str,
    at: datetime,
    seconds: float,
    usage: Usage | None,
    cost_micro_usd: int | None,
    summary: str = "",
    secret: Collection[str],
) -> AuditRow:
    calls: list[JsonValue] = [
        {
            "id": call.id,
            "name": call.name,
            "arguments": hidden(call.arguments) if call.name in secret else call.arguments,
        }
        for call in message.tool_calls
    ]
    return AuditRow(
        key=key,
        kind="compact" if kind == "compact" else "model",
        name=spec,
        status="complete",
        at=at,
        seconds=seconds,
        summary=summary[:200],
        content={"text": message.text, "calls": calls},
        usage=usage,
        cost_micro_usd=cost_micro_usd,
    )
