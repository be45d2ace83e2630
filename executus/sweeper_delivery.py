"""Deliver what became of a run whose own cleanup never ran: terminated, timed out by the server."""

from typing import Any

from temporalio.client import Client, WorkflowHandle

from executus.agent import RunnableAgent
from executus.carry import Carry
from executus.envelope import delivery_item
from executus.letter import DeadLetter
from executus.ports import DeadLetters, Delivery
from executus.redelivery import Records, Redelivery
from executus.request import RunRequest
from executus.result import RunResult

NOT_YET = "the run ended without its cleanup: the sweeper delivers"


class SweptDelivery:
    """Keeps the outcome as a letter first, then sends it: a sweep that dies loses none."""

    def __init__(self, delivery: Delivery, letters: DeadLetters, audit: Records | None) -> None:
        self._delivery = delivery
        self._letters = letters
        self._redelivery = Redelivery(delivery, letters, audit)

    async def keep(
        self,
        client: Client,
        handle: WorkflowHandle[Any, Any],
        result: RunResult,
        workflow_run_id: str,
    ) -> DeadLetter | None:
        """The letter; None when none is due: delivered, kept, refused, or never asked for.

        Raises:
            RPCError: Temporal could not be asked what the run was started with.
            StoreError: it could not be kept.
        """
        if result.delivery is not None or await self._letters.letters(
            result.run_id, delivered=True, limit=1
        ):
            return None
        request = await _request(client, handle)
        target = request.invocation.delivery if request else None
        if request is None or target is None or self._delivery.problem(target) is not None:
            return None
        agent = request.agent
        item = delivery_item(
            target,
            result,
            request.invocation,
            agent=agent.name if isinstance(agent, RunnableAgent) else agent,
            workflow_run_id=workflow_run_id,
        )
        letter = DeadLetter(
            id=item.id,
            run_id=result.run_id,
            target=target.shown,
            status=result.status,
            attempts=0,
            error=NOT_YET,
            failed_at=result.ended_at,
            item=item,
        )
        await self._letters.keep(letter)
        return letter

    async def send(self, letter: DeadLetter) -> bool:
        """One attempt; what does not land stays a dead letter.

        Raises:
            StoreError: it could not be recorded.
        """
        return (await self._redelivery.send(letter)).receipt is not None


async def _request(client: Client, handle: WorkflowHandle[Any, Any]) -> RunRequest | None:
    """What the run was started with, or went on with; None when it does not read."""
    async for event in handle.fetch_history_events(page_size=1):
        started = event.workflow_execution_started_event_attributes
        kind = Carry if started.continued_execution_run_id else RunRequest
        try:
            [found] = await client.data_converter.decode(started.input.payloads, [kind])
        except Exception:  # noqa: BLE001 - a codec of the host's may raise anything
            return None
        return found.request if isinstance(found, Carry) else found
    return None
