"""`executus.model`: one model turn over the run's transcript."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from temporalio import activity

from executus.activities.calls import ModelCalls
from executus.activities.conversation import Conversations
from executus.activities.heartbeat import beating
from executus.activities.host import Host
from executus.activities.output import Wanted, judged, wanted
from executus.activities.records import Records
from executus.activities.reply import tidy
from executus.contracts import MODEL, ModelStepInput, ModelStepOutput
from executus.models.provider import ModelRequest, WireMessage
from executus.plan import ModelTarget
from executus.rows import model_row
from executus.transcript import lower, view

GRACE = 2.0
"""Seconds a call may outlast the run's deadline: the run's own timer is to end it, by a cancel, and
not a time-out that looks like the provider's fault."""


class ModelStep:
    """Asks the chain, makes the reply safe, records it."""

    def __init__(self, host: Host, conversations: Conversations, records: Records) -> None:
        self._host = host
        self._conversations = conversations
        self._records = records

    @activity.defn(name=MODEL)
    async def model(self, step: ModelStepInput) -> ModelStepOutput:
        """One reply; the paid work of an attempt is recorded before it returns."""
        calls = ModelCalls(
            self._host, self._records, step.key, step_id=step.step_id, left=step.seconds_left
        )
        async with beating(calls.details):  # over all of it: a query after a crash takes seconds
            try:
                return await self._step(step, calls)
            finally:
                await calls.record()  # when a bug in between lost the step, not what it took

    async def _step(self, step: ModelStepInput, calls: ModelCalls) -> ModelStepOutput:
        begun = time.monotonic()
        plan = await self._conversations.plan(step.plan_digest)
        transcript = await self._conversations.load(step.key, step.cursor, step.tail, step.inline)
        shown = show(transcript)

        def want(target: ModelTarget) -> Wanted:
            schema = plan.output_schema
            native = schema is not None and self._host.models.takes_schema(target, schema)
            return wanted(plan, shown, native=native, closing=step.closing)

        def build(target: ModelTarget) -> ModelRequest:
            seconds = min(plan.bounds.model_call_seconds, calls.seconds_left + GRACE)
            return _request(step, shown, target, want(target), seconds)

        answer = await calls.ask(plan, plan.targets, build)
        message = tidy(answer.reply.message, self._conversations.call_ids(step.key))
        output = ModelStepOutput(
            message=message,
            stop=answer.reply.stop,
            usage=answer.reply.usage,
            cost_micro_usd=calls.cost_micro_usd,
            spec=answer.target.spec,
            attempt=activity.info().attempt,
            failovers=tuple(answer.failovers),
        )
        output = judged(output, plan.output_schema, by_tool=want(answer.target).by_tool)
        self._conversations.remember(step.key, message)
        audit = self._host.ports.audit
        if audit is not None and "audit" in plan.wired:
            row = model_row(
                step.step_id,
                "model",
                output,
                datetime.now(UTC),
                time.monotonic() - begun,
                phase=step.phase,
                secret=plan.secret_tools,
            )
            await calls.record(self._records.record(step.key, row))
        return output


def show(transcript: Sequence[WireMessage]) -> Sequence[WireMessage]:
    """What the model is shown: folds applied, and lowered to user messages."""
    if not any(item.message.fold for item in transcript):
        return transcript
    indices = view([item.message for item in transcript])
    return [
        WireMessage(lower(item.message)) if item.message.fold is not None else item
        for item in (transcript[i] for i in indices)
    ]


def _request(
    step: ModelStepInput,
    shown: Sequence[WireMessage],
    target: ModelTarget,
    want: Wanted,
    seconds: float,
) -> ModelRequest:
    return ModelRequest(
        model=target.model,
        system_prompt=want.system_prompt,
        messages=shown,
        tools=want.tools,
        tool_choice=want.tool_choice,
        output_schema=want.output_schema,
        max_output_tokens=step.max_output_tokens,
        timeout=seconds,
        cache_key=step.key.run_id,
    )
