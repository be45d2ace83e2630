"""Attached files: staged, or folded into the opening message; what is dropped is told."""

import asyncio

from temporalio.exceptions import ActivityError, is_cancelled_exception

from executus import contracts
from executus.contracts import StageInput, StageOutput
from executus.files import READ_MORE, attached_block
from executus.message import FilePart, Message
from executus.plan import RunPlan
from executus.sanitize import clean_line
from executus.staging import Staged, drop_all, fold
from executus.workflows.opening import opening_message
from executus.workflows.perform import Options, perform
from executus.workflows.run import Run

STAGE_SECONDS = 60.0
"""Seconds that staging may take, retries included; never more than half of the run's time."""
STAGE_ATTEMPTS = 3


async def opening_of(run: Run, plan: RunPlan) -> Message:
    """The opening message, its files in place."""
    asked = run.invocation
    parts: tuple[FilePart, ...] = ()
    staged = Staged((), ())
    if "files" in plan.wired and any(tool.name == READ_MORE for tool in plan.tools):
        staged = await _stage(run) if asked.files else staged
    else:
        parts, dropped = fold(asked.files)
        staged = Staged((), dropped)
    dropped = (*asked.dropped_files, *staged.dropped)
    for item in dropped:
        run.warn("file_dropped", f"not attached: {item}")
    if staged.kept:
        names = ", ".join(ref.name for ref in staged.kept)
        run.event("files_attached", f"{len(staged.kept)}: {names}")
    block = attached_block(staged.kept, dropped, READ_MORE)
    return opening_message(asked, block=block, files=parts)


async def _stage(run: Run) -> Staged:
    files = run.invocation.files
    asked = StageInput(scope=run.file_scope, files=files, attempts=STAGE_ATTEMPTS)
    seconds = min(STAGE_SECONDS, max(1.0, run.clock.seconds_left() / 2))
    options = Options(whole=seconds, attempt=seconds, attempts=STAGE_ATTEMPTS, longest_pause=5.0)
    summary = f"{len(files)} file{'s' if len(files) > 1 else ''}"
    try:
        done = await perform(contracts.FILES_STAGE, asked, StageOutput, options, summary)
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise asyncio.CancelledError from None
        return drop_all(files, f"staging failed: {clean_line(str(error.cause or error), 200)}")
    return Staged(done.kept, done.dropped)
