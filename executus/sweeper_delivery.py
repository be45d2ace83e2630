"""Deliver what became of a run whose own cleanup never ran: terminated, timed out by the server."""

from contextlib import suppress
from typing import Any, NamedTuple

from temporalio.client import Client, WorkflowHandle

from executus.agent import RunnableAgent
from executus.carry import Carry
from executus.delivered import read_payload, tried
from executus.delivery_target import DeliveryTarget
from executus.envelope import delivery_item
from executus.errors import ConfigError
from executus.invocation import Invocation
from executus.letter import DeadLetter, DeliveryReceipt
from executus.ports import DeadLetters, Delivery
from executus.redelivery import Records, Redelivery
from executus.request import RunRequest
from executus.result import RunResult
from executus.sanitize import clean_line
from executus.status import Reason

NOT_YET = "the run ended without its cleanup: the sweeper delivers"
MAX_ERROR = 500
"""Characters of why it cannot be delivered from here."""


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
    ) -> DeadLetter | DeliveryReceipt | None:
        """The letter, or the receipt of what the run delivered before it died.

        None when nothing is due: delivered and told, kept already, refused, or never asked for.

        Raises:
            RPCError: Temporal could not be asked what the run was started with.
            ConfigError: what Temporal tells of the run does not read here.
            StoreError: it could not be kept.
        """
        if result.delivery is not None or result.reason is Reason.DELIVERY_REFUSED:
            return None
        asked = await _asked(client, handle)
        if asked is None:
            return None
        problem = self._delivery.problem(asked.target)
        if problem is not None and not asked.valid:
            return None  # of no request, to nowhere: not worth a place, as for the run itself
        item = delivery_item(
            asked.target,
            result,
            asked.invocation,
            agent=asked.agent,
            workflow_run_id=workflow_run_id,
        )
        mine = await tried(client, handle)
        if mine.receipt is not None:
            return mine.receipt
        # By the ids of this run's own deliveries: another run of the same id may have left letters.
        kept = await self._letters.letters(result.run_id, delivered=True)
        if not {item.id, *mine.items}.isdisjoint(letter.id for letter in kept):
            return None
        # An attempt that was under way may have landed, or may still: the same again is no second
        # outcome, "terminated" would be one.
        item = next(reversed(mine.items.values()), item)
        letter = DeadLetter(
            id=item.id,
            run_id=result.run_id,
            target=asked.target.shown,
            status=item.event.data.status,
            attempts=0,
            error=clean_line(problem, MAX_ERROR) if problem else NOT_YET,
            failed_at=result.ended_at,
            item=item,
        )
        await self._letters.keep(letter)
        return letter

    async def send(self, letter: DeadLetter) -> bool:
        """One attempt; what does not land, or cannot be sent from here, stays a dead letter.

        Raises:
            StoreError: it could not be recorded.
        """
        item = letter.item
        if item is None or self._delivery.problem(item.target) is not None:
            return False
        return (await self._redelivery.send(letter)).receipt is not None


class _Asked(NamedTuple):
    """A delivery that the run was asked for."""

    target: DeliveryTarget
    invocation: Invocation
    agent: str
    valid: bool = True
    """Whether the request was one."""


async def _asked(client: Client, handle: WorkflowHandle[Any, Any]) -> _Asked | None:
    """The delivery that the run was started with, or went on with; None when there is none."""
    async for event in handle.fetch_history_events(page_size=1):
        started = event.workflow_execution_started_event_attributes
        payloads = started.input.payloads
        if len(payloads) != 1:
            return None  # no request at all
        raw: object = await read_payload(client, payloads[0], None)
        if started.continued_execution_run_id:
            with suppress(ConfigError):
                # A caller's retry policy.
                return _of(await read_payload(client, payloads[0], RunRequest))
            return _of((await read_payload(client, payloads[0], Carry)).request)
        try:
            return _of(await read_payload(client, payloads[0], RunRequest))
        except ConfigError:
            return _of_rejected(raw)
    return None


def _of(request: RunRequest | None) -> _Asked | None:
    target = None if request is None else request.invocation.delivery
    if request is None or target is None:
        return None
    agent = request.agent
    name = agent.name if isinstance(agent, RunnableAgent) else agent
    return _Asked(target, request.invocation, name)


def _of_rejected(raw: Any) -> _Asked | None:  # noqa: ANN401 - anything that is no request
    """As the run does it: a rejection is delivered where that much of the request can be read."""
    try:
        target = DeliveryTarget.model_validate(raw["invocation"]["delivery"])
    except (ValueError, LookupError, TypeError):
        return None
    return _Asked(target, Invocation(), "unknown", valid=False)
