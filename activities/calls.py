"""One answer of a model, on one attempt of an activity: budget hooks, failover, retry decision.

There is one retry layer, Temporal: what failed and may be tried again goes out as a retryable
failure with the provider's own delay; what does not heal goes out as final.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from executus.activities.heartbeat import quiet_mark
from executus.activities.host import Host
from executus.activities.records import Records
from executus.budget import BudgetCall, BudgetDecision, BudgetMeter
from executus.contracts import BUDGET_DENIED, MODEL_ERROR, ModelFailure, RunKey
from executus.errors import ModelError
from executus.estimate import text_tokens, tool_tokens
from executus.metrics import count_model_call, count_reply
from executus.models.chain import Answer, AttemptMemory, ChainFailed, answer
from executus.models.provider import ModelReply, ModelRequest
from executus.plan import ModelTarget, Price, RunPlan
from executus.ports import Budget
from executus.sanitize import clean_text

CALLS_PER_ATTEMPT = 32
"""Provider calls that one Temporal attempt may make; numbers them for the budget."""

PREVIEW_KEPT, PREVIEW_SHOWN = 4_000, 200
"""Characters of what streams in: so many are searched for secrets (of one that was cut nothing is
recognised), and so many are shown."""
AT_DEADLINE = 1.0
"""Seconds before the deadline in which a failure is the deadline's: the run's timer decides."""


class BudgetDeniedError(Exception):
    """The budget refused a call."""

    def __init__(self, decision: BudgetDecision) -> None:
        super().__init__(decision.message)
        self.decision = decision


class ModelCalls:
    """Makes the calls of one activity attempt."""

    def __init__(
        self, host: Host, records: Records, key: RunKey, *, step_id: str, left: float
    ) -> None:
        """`left`: seconds until the run's deadline when the step was scheduled."""
        info = activity.info()
        self._host = host
        self._records = records
        self._key = key
        self._step_id = step_id
        self._attempt = info.attempt
        waited = info.current_attempt_scheduled_time - info.scheduled_time
        self._until = time.monotonic() + max(0.05, left - waited.total_seconds())
        self._made = 0
        self._unmetered: tuple[Budget, BudgetMeter] | None = None
        self.cost_micro_usd: int | None = None
        """What the reply cost; None before there is one, or when its price is not known."""
        self.memory = _memory(info.heartbeat_details)
        self.preview = ""
        self._said_at: float | None = None

    @property
    def seconds_left(self) -> float:
        """Until the run's deadline, on this worker's monotonic clock."""
        return max(0.05, self._until - time.monotonic())

    async def ask(
        self,
        plan: RunPlan,
        targets: tuple[ModelTarget, ...],
        build: Callable[[ModelTarget], ModelRequest],
    ) -> Answer:
        """Answer from the first target that can.

        Raises:
            ApplicationError: typed for the workflow, retryable or not.
        """
        budget = self._host.ports.budget if "budget" in plan.wired else None

        async def call(target: ModelTarget) -> ModelReply:
            return await self._call(budget, target, build(target))

        try:
            return await answer(
                targets,
                call,
                self.memory,
                self._host.models.health,
                own_deadline=lambda: self._until - time.monotonic() <= 0,
            )
        except BudgetDeniedError as denied:
            raise ApplicationError(
                f"budget: {denied.decision.message}",
                denied.decision,
                type=BUDGET_DENIED,
                non_retryable=True,
            ) from None
        except ChainFailed as failed:
            activity.heartbeat(*self.details())
            raise self._failure(failed) from None

    def details(self) -> tuple[object, ...]:
        """Heartbeat details: memory for the next attempt, preview for people, how old it is."""
        preview = clean_text(self._host.redactor.text(self.preview))[-PREVIEW_SHOWN:]
        told = (self.memory.model_dump(mode="json"), preview)
        return told if self._said_at is None else (*told, quiet_mark(self._said_at))

    def progress(self, piece: str) -> None:
        """Keep the end of what streams in."""
        self.preview = (self.preview + piece)[-PREVIEW_KEPT:]
        self._said_at = time.monotonic()

    def _failure(self, failed: ChainFailed) -> ApplicationError:
        failovers = tuple(failed.failovers)
        message = str(failed)
        final, delay = failed.final, failed.retry_after
        if not final and delay is not None and delay >= self.seconds_left > AT_DEADLINE:
            message += f"; it asks to wait {delay:.0f} s and {self.seconds_left:.0f} s are left"
            final = True
        detail = ModelFailure(fault=failed.fault, message=message[:2_000], failovers=failovers)
        return ApplicationError(
            message[:2_000],
            detail,
            type=MODEL_ERROR,
            non_retryable=final,
            next_retry_delay=timedelta(seconds=delay) if delay and not final else None,
        )

    async def record(self, row: Awaitable[None] | None = None) -> None:
        """Record what the reply took, and `row` at the same time: one store, one transaction.

        What cannot be recorded now is made up for: the commit settles an attempt's estimate, the
        close writes missing rows.
        """
        unmetered, self._unmetered = self._unmetered, None
        records = [] if row is None else [quietly(row, "audit record")]
        if unmetered is not None:
            budget, meter = unmetered
            records.append(quietly(budget.meter(meter), "budget meter"))
        await asyncio.gather(*records)

    # -- one call ------------------------------------------------------------------------------

    async def _call(
        self, budget: Budget | None, target: ModelTarget, request: ModelRequest
    ) -> ModelReply:
        self._made += 1
        number = (self._attempt - 1) * CALLS_PER_ATTEMPT + self._made
        if budget is None:
            return await self._complete(target, request)
        estimate = _estimate(target, request, self._key.run_id, self._step_id, number)
        execution = activity.info().workflow_run_id or ""
        anew = (await self._records.descent(self._key)).resets
        left = self.seconds_left if anew else None
        estimate = estimate.model_copy(update={"execution_id": execution, "reset_seconds": left})
        decision = await budget.authorize(estimate)
        if not decision.admitted:
            raise BudgetDeniedError(decision)
        try:
            reply = await self._complete(target, request)
        except ModelError as error:
            if _unbilled(error):
                # At once: the next target's call may need the room.
                await quietly(budget.meter(_meter(estimate, 0, 0)), "budget meter")
            raise  # any other failure may have been billed: it is settled at its worst case
        tokens = reply.usage.total_tokens
        self._unmetered = budget, _meter(estimate, tokens, self.cost_micro_usd)
        return reply

    async def _complete(self, target: ModelTarget, request: ModelRequest) -> ModelReply:
        """Call the provider, and count what came of it."""
        meter, begun, outcome = activity.metric_meter(), time.monotonic(), "cancelled"
        try:
            reply = await self._reply(target, request)
            outcome = "ok"
        except ModelError as error:
            outcome = error.fault
            raise
        finally:
            count_model_call(meter, target.spec, outcome, time.monotonic() - begun)
        self.cost_micro_usd = self._host.models.cost(target.spec, reply.usage)
        count_reply(meter, target.spec, reply.usage, self.cost_micro_usd)
        return reply

    async def _reply(self, target: ModelTarget, request: ModelRequest) -> ModelReply:
        """A bug in a host's own provider is a failed target, not a lost step."""
        try:
            provider = self._host.models.provider(target.provider)
            reply = await provider.complete(request, self.progress)
        except ModelError as error:
            error.args = (self._shown(error),)  # a host's own provider, or the host's own shapes
            raise
        except Exception as error:  # noqa: BLE001 - the host's code: whatever it raises
            message = f"the provider raised {type(error).__name__}: {self._shown(error)}"
            raise ModelError(message, fault="unknown") from None
        if not isinstance(reply, ModelReply):  # pyright: ignore[reportUnnecessaryIsInstance] - for hosts without a type checker
            made = type(reply).__name__
            raise ModelError(f"the provider returned {made}, not a ModelReply", fault="unknown")
        return reply

    def _shown(self, error: Exception) -> str:
        """Its message as logs, histories and people may have it."""
        return self._host.redactor.text(clean_text(str(error)))[:500]


def _meter(call: BudgetCall, tokens: int, micro_usd: int | None) -> BudgetMeter:
    """What the call took."""
    return BudgetMeter(
        run_id=call.run_id,
        step_id=call.step_id,
        execution_id=call.execution_id,
        attempt=call.attempt,
        tokens=tokens,
        micro_usd=micro_usd,
    )


async def quietly(doing: Awaitable[object], what: str) -> None:
    """Await something whose failure must not lose a paid reply; log it."""
    try:
        await doing
    except Exception as error:  # noqa: BLE001 - whatever the store raises, the reply is worth more
        activity.logger.warning("executus: %s failed: %s", what, error)


def _estimate(
    target: ModelTarget, request: ModelRequest, run_id: str, step_id: str, number: int
) -> BudgetCall:
    tokens_in = text_tokens(request.system_prompt)
    if request.output_schema is not None:
        tokens_in += text_tokens(str(request.output_schema))
    tokens_in += sum(item.tokens for item in request.messages)
    tokens_in += sum(tool_tokens(t.name, t.description, t.parameters) for t in request.tools)
    price = target.price
    return BudgetCall(
        run_id=run_id,
        step_id=step_id,
        attempt=number,
        tokens=tokens_in + request.max_output_tokens,
        micro_usd=_cost(price, tokens_in, request.max_output_tokens),
        input_tokens=tokens_in,
        input_micro_usd=_cost(price, tokens_in, 0),
    )


def _cost(price: Price | None, tokens_in: int, tokens_out: int) -> int | None:
    if price is None:
        return None
    return -(-(tokens_in * price.input + tokens_out * price.output) // 1_000_000) + price.call


def _unbilled(error: ModelError) -> bool:
    """Whether the provider surely charges nothing: never reached, or answered with an error status.

    An error inside a stream has no status code: what came before it may be billed.
    """
    local = error.fault in {"unsupported", "script_exhausted"}
    return not error.sent or error.status_code is not None or local


def _memory(details: object) -> AttemptMemory:
    """What earlier attempts of this step learnt; empty when there is nothing readable."""
    first = next(iter(details), None) if isinstance(details, list | tuple) else None  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    try:
        return AttemptMemory.model_validate(first)
    except ValidationError:  # none yet, or written by another version
        return AttemptMemory()
