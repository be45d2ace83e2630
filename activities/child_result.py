"""`executus.child_result`: what became of a child run that could not tell its parent itself."""

from temporalio import activity

from executus.contracts import CHILD_RESULT
from executus.endings import read_ending
from executus.lineage import ChildResultInput
from executus.result import RunResult


@activity.defn(name=CHILD_RESULT)
async def child_result(asked: ChildResultInput) -> RunResult:
    """The result of a child that was terminated, timed out or cancelled natively; no steps."""
    handle = activity.client().get_workflow_handle(asked.run_id, result_type=RunResult)
    result = await read_ending(handle)
    return result.model_copy(update={"steps": ()})
