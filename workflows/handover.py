"""Hand a run over to its next execution, and take it up there."""

from collections import deque

from executus.carry import MAX_CARRIED_STEPS, MAX_CARRY_BYTES, STEPS_BYTES, Carry
from executus.message import Fold, Message
from executus.plan import RunPlan
from executus.request import RunRequest
from executus.step import StepRecord
from executus.transcript import Transcript, TranscriptPage, view
from executus.workflows.clock import Clock
from executus.workflows.ledger import Ledger
from executus.workflows.loop import AgentLoop


def shown(transcript: Transcript) -> list[Message]:
    """What the model is shown, as a transcript of its own: folded messages stay behind.

    A summary folds its own place in the new transcript, so the view of that is the whole of it.
    """
    messages: list[Message] = []
    for i in view(transcript.messages):
        message = transcript.messages[i]
        if message.fold is not None:
            at = len(messages)
            message = message.model_copy(update={"fold": Fold(start=at, end=at + 1)})
        messages.append(message)
    return messages


def carried_page(transcript: Transcript, start: int, limit_bytes: int) -> TranscriptPage:
    """A page of `shown`."""
    return Transcript(shown(transcript)).page(start, limit_bytes)


def pack(
    *,
    request: RunRequest,
    plan: RunPlan,
    clock: Clock,
    reserved: bool,
    loop: AgentLoop,
    ledger: Ledger,
    steer: deque[str],
    execution: str,
) -> Carry:
    """The state of a run between two iterations."""
    messages = shown(loop.transcript)
    bare: dict[str, object] = {"prompt": "", "inputs": {}, "images": (), "files": ()}
    invocation = request.invocation.model_copy(update=bare)
    carry = Carry(
        request=RunRequest(agent=plan.agent_name, invocation=invocation),
        plan=plan,
        started_at=clock.started_at,
        deadline_at=clock.deadline_at,
        tokens_limit=loop.allowance.tokens,
        micro_usd_limit=loop.allowance.micro_usd,
        reserved=reserved,
        iteration=loop.iteration,
        usage=ledger.usage,
        cost_micro_usd=ledger.cost_micro_usd,
        tool_calls=ledger.tool_calls,
        events_total=ledger.events_total,
        steps=_newest_steps(ledger),
        steps_total=ledger.total,
        steer=tuple(steer),
        guard_errors=loop.guards.errors,
        guard_streaks=loop.guards.streaks,
        guard_known=tuple(loop.guards.known),
        folds=loop.folds,
        compact_from=loop.compact_from,
        blanks=loop.blanks,
        repairs=loop.repairs,
        message_count=len(messages),
        from_execution=execution,
    )
    size = len(carry.model_dump_json()) + sum(len(m.model_dump_json()) + 1 for m in messages)
    if size > MAX_CARRY_BYTES:
        return carry
    return carry.model_copy(update={"messages": tuple(messages)})


def _newest_steps(ledger: Ledger) -> tuple[StepRecord, ...]:
    steps, room = ledger.newest(MAX_CARRIED_STEPS), STEPS_BYTES
    first = len(steps)
    while first > 0 and (room := room - len(steps[first - 1].model_dump_json()) - 1) >= 0:
        first -= 1
    return steps[first:]


def unpack_ledger(carry: Carry) -> Ledger:
    """The ledger of the next execution."""
    return Ledger(
        earlier=carry.steps,
        steps_before=carry.steps_total,
        events_total=carry.events_total,
        usage=carry.usage,
        cost_micro_usd=carry.cost_micro_usd,
        tool_calls=carry.tool_calls,
    )


def unpack_loop(carry: Carry, loop: AgentLoop) -> None:
    """Set the loop of the next execution where the last one stopped."""
    loop.iteration = carry.iteration
    loop.guards.errors = carry.guard_errors
    loop.guards.streaks = dict(carry.guard_streaks)
    loop.guards.known = dict.fromkeys(carry.guard_known)
    loop.folds = carry.folds
    loop.compact_from = carry.compact_from
    loop.blanks = carry.blanks
    loop.repairs = carry.repairs
