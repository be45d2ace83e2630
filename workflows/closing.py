"""Close a run: its result, then everything that must happen however it ended."""

from collections.abc import Sequence

from pydantic import JsonValue
from temporalio import workflow

from executus.audit import AuditClose
from executus.data import json_bytes
from executus.files import FileRef
from executus.metrics import count_run
from executus.result import RunResult
from executus.sanitize import cap_text, clean_text, json_text
from executus.workflows.checkpoints import is_stale, save
from executus.workflows.cleanup import Cleanup
from executus.workflows.delivery import deliver
from executus.workflows.ending import Ending
from executus.workflows.report import MAX_OUTPUT_BYTES, MAX_RESULT_BYTES, fit_steps
from executus.workflows.run import Run


async def close_run(run: Run, ending: Ending) -> RunResult:
    """Settle, close and report. Run it where no cancel enters; it always answers with a result."""
    run.stage = "closing"
    run.changed()
    cleanup = Cleanup(run.bounds.cleanup_seconds, run.clock)
    result = _result(run, ending)
    try:
        result = await _clean_up(run, result, cleanup)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run must still end
        workflow.logger.error("executus: bug in cleanup", exc_info=error)
        cleanup.warnings.append(f"internal error in cleanup: {type(error).__name__}: {error}")
    result = result.model_copy(update={"warnings": (*run.warnings, *cleanup.warnings)})
    if not workflow.all_handlers_finished():  # they answer what became of their message
        await workflow.wait_condition(workflow.all_handlers_finished)
    run.stage = "closed"
    run.changed()
    count_run(workflow.metric_meter(), run.agent_label, result)
    return fit_steps(result, run.ledger, _room(run))


def _result(run: Run, ending: Ending) -> RunResult:
    """What became of the run, before cleanup."""
    room = _room(run)
    structured = _fitting(ending.structured, room)
    if structured is None and ending.structured is not None:
        run.warnings.append("the structured result is too large for the parent run: left out")
    return RunResult(
        run_id=run.key.run_id,
        status=ending.status,
        reason=ending.reason,
        output=cap_text(ending.output, min(MAX_OUTPUT_BYTES, room // 2), json_limit=room // 2).text,
        structured=structured,
        error=clean_text(ending.error) if ending.error else None,
        iterations=run.iteration,
        usage=run.ledger.usage,
        cost_micro_usd=run.ledger.cost_micro_usd,
        descendants=run.descendants,
        files=_few(run.files, room),
        started_at=run.clock.started_at,
        ended_at=workflow.now(),
    )


def _fitting(structured: JsonValue, room: int) -> JsonValue:
    """The value, unless it alone would be too large; its text is in the output, cut."""
    return structured if len(json_text(structured).encode()) <= room // 2 else None


def _few(files: Sequence[FileRef], room: int) -> tuple[FileRef, ...]:
    """The first ones, in a quarter of the room."""
    kept, left = list[FileRef](), room // 4
    for ref in files:
        left -= json_bytes(ref)
        if left < 0:
            break
        kept.append(ref)
    return tuple(kept)


def _room(run: Run) -> int:
    """Bytes that the result may have: a child's stands in its parent's history as well."""
    lineage = run.request.lineage if run.request else None
    return lineage.result_bytes if lineage else MAX_RESULT_BYTES


async def _clean_up(run: Run, result: RunResult, cleanup: Cleanup) -> RunResult:
    """Settle the budget, deliver the outcome, then close the audit."""
    if run.reserved:
        seconds = (result.ended_at - result.started_at).total_seconds()
        resumed = run.clock.resumed_at
        since_reset = None if resumed is None else (result.ended_at - resumed).total_seconds()
        await cleanup.commit(result.run_id, seconds, since_reset)
    dispatch = await deliver(run, result, cleanup)
    resets = run.ledger.resets  # so far: another one may lie between the delivery and the close
    result = result.model_copy(update={"delivery": dispatch.receipt})
    if is_stale(run):
        failed = await save(run, status=result.status)
        if failed is not None:
            cleanup.warnings.append(f"the last checkpoint did not land: {failed}"[:500])
    # Wiring unknown: the request never got as far as resolve. The activity knows.
    if run.wired is not None and "audit" not in run.wired:
        return result
    since = {"resets_since": run.ledger.resets - resets}
    events = (*run.ledger.events, *(row.model_copy(update=since) for row in dispatch.rows))
    receipt = await cleanup.close(_audit_close(run, result), events, run.ledger.total)
    return result.model_copy(update={"audit_head": receipt.head if receipt else None})


def _audit_close(run: Run, result: RunResult) -> AuditClose:
    return AuditClose(
        opening=run.opening(),
        status=result.status,
        reason=result.reason,
        output=result.output,
        error=result.error,
        iterations=result.iterations,
        steps=run.ledger.total,
        usage=result.usage,
        cost_micro_usd=result.cost_micro_usd,
        ended_at=result.ended_at,
    )
