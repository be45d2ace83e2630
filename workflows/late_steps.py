"""Tell the audit what it lacks: rows of steps whose own activity could not write them."""

from executus.audit import AuditRow
from executus.contracts import PAGE_BYTES, StepsPage
from executus.data import json_bytes
from executus.rows import late_row
from executus.workflows.run import Run


def late_steps(run: Run, start: int) -> StepsPage:
    """Rows of this execution's steps from `start` on, at most about 900 KB of them."""
    ledger, rows, room = run.ledger, list[AuditRow](), PAGE_BYTES
    secret = run.plan.secret_tools if run.plan is not None else frozenset[str]()
    for step in ledger.steps[start:]:
        message = run.brought(step.id)
        arguments = _arguments(run, step.id)
        row = late_row(step, ledger.attempts[step.id], message, arguments, secret=secret)
        row = ledger.placed(step.id, row)
        room -= json_bytes(row)
        if rows and room < 0:
            break
        rows.append(row)
    return StepsPage(rows=tuple(rows), start=start, total=len(ledger.steps))


def _arguments(run: Run, step_id: str) -> str:
    """Arguments of a tool call: `m3.t2` is the second call of the reply of `m3`."""
    turn, _, ordinal = step_id.partition(".t")
    reply = run.brought(turn)
    if reply is None or not ordinal.isdigit():
        return ""
    return reply.tool_calls[int(ordinal) - 1].arguments
