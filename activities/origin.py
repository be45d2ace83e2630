"""`executus.origin`: read the conversation that a fork goes on from."""

from datetime import timedelta
from typing import Any, NoReturn

from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from executus.activities.host import Host
from executus.contracts import ORIGIN, PAGE_BYTES, QUERY_FORK_POINT, QUERY_TRANSCRIPT
from executus.fork_end import before_answer, consistent
from executus.origin import ForkAsk, ForkPoint, OriginInput, OriginPage
from executus.transcript import Transcript, TranscriptPage

QUERY_SECONDS = 60.0
"""A closed execution is replayed to answer: seconds for some thousand events."""
CHECKPOINT = "checkpoint"
"""`OriginPage.source` when Temporal's history is gone."""


class ReadOrigin:
    """Reads from the run itself, or from the host's copy once Temporal has forgotten the run."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @activity.defn(name=ORIGIN)
    async def origin(self, asked: OriginInput) -> OriginPage:
        """A page of the messages; the first one decides where and how far."""
        if asked.source == CHECKPOINT:
            return await self._from_copy(asked)
        try:
            if asked.source:
                return await self._page(asked, asked.source, asked.total)
            execution, point = await self._find(asked)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return await self._from_copy(asked)
        page = await self._page(asked, execution, point.end)
        return page.model_copy(update={"files_roots": point.files_roots})

    async def _find(self, asked: OriginInput) -> tuple[str, ForkPoint]:
        """The execution that has the step, newest first, and how far its conversation counts."""
        client, origin = activity.client(), asked.origin
        about = await client.get_workflow_handle(origin.run_id).describe()
        execution = about.run_id
        ask = ForkAsk(step_id=origin.step_id, drop_answer=asked.drop_answer)
        while True:
            handle = client.get_workflow_handle(origin.run_id, run_id=execution)
            point: ForkPoint = await self._query(handle, QUERY_FORK_POINT, ask, ForkPoint)
            self._own(asked, point.caller_id, point.tenant_id)
            if point.problem is None:
                return execution, point
            if point.earlier is None:
                _refuse(f"{origin.run_id}: {point.problem}")
            execution = point.earlier

    async def _page(self, asked: OriginInput, execution: str, end: int) -> OriginPage:
        run_id = asked.origin.run_id
        handle = activity.client().get_workflow_handle(run_id, run_id=execution)
        page: TranscriptPage = await self._query(
            handle, QUERY_TRANSCRIPT, asked.start, TranscriptPage
        )
        messages = page.messages[: max(0, end - asked.start)]
        return OriginPage(source=execution, messages=messages, total=end)

    async def _from_copy(self, asked: OriginInput) -> OriginPage:
        origin, store = asked.origin, self._host.ports.checkpointer
        copy = await store.load(origin.run_id) if store is not None else None
        if copy is None:
            also = "" if store is None else " and the checkpointer has no copy"
            _refuse(f"Temporal knows no run {origin.run_id}{also}")
        self._own(asked, copy.caller_id, copy.tenant_id)
        if origin.step_id is not None:
            text = (
                f"the history of {origin.run_id} is gone; only its end is kept: leave out the step"
            )
            _refuse(text)
        messages = copy.messages[: consistent(copy.messages)]
        if asked.drop_answer:
            messages = messages[: before_answer(messages)]
        page = Transcript(messages).page(asked.start, PAGE_BYTES)
        return OriginPage(
            source=CHECKPOINT,
            messages=page.messages,
            total=page.total,
            files_roots=copy.files_roots,
        )

    @staticmethod
    def _own(asked: OriginInput, caller_id: str, tenant_id: str) -> None:
        """A conversation is read for its own caller only; the refusal tells nothing else."""
        if (asked.caller_id, asked.tenant_id) != (caller_id, tenant_id):
            _refuse(f"Temporal knows no run {asked.origin.run_id} of this caller")

    @staticmethod
    async def _query(
        handle: WorkflowHandle[Any, Any], name: str, argument: object, kind: type[Any]
    ) -> Any:  # noqa: ANN401 - of `kind`
        return await handle.query(
            name, argument, result_type=kind, rpc_timeout=timedelta(seconds=QUERY_SECONDS)
        )


def _refuse(text: str) -> NoReturn:
    raise ApplicationError(text, type=ORIGIN, non_retryable=True)
