"""Hand a run over to its next execution, and take it up there."""

from datetime import timedelta

from temporalio import workflow

from executus.carry import MAX_CARRIED_STEPS, MAX_CARRY_BYTES, STEPS_BYTES, Carry
from executus.data import json_bytes
from executus.message import Fold, Message
from executus.plan import RunPlan
from executus.request import RunRequest
from executus.step import StepRecord
from executus.transcript import Transcript, TranscriptPage, view
from executus.workflows.allowance import Allowance
from executus.workflows.ledger import Ledger
from executus.workflows.loop import AgentLoop
from executus.workflows.progress import Progress
from executus.workflows.run import Run


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


def pack(run: Run, plan: RunPlan, loop: AgentLoop, told: int) -> Carry:
    """The state of a run between two iterations; the audit has `told` of its events."""
    messages = shown(run.transcript)
    ledger, allowance, progress = run.ledger, loop.allowance, run.progress
    bare: dict[str, object] = {
        "prompt": "",
        "inputs": {},
        "images": (),
        "files": (),
        "dropped_files": (),
    }
    carry = Carry(
        request=RunRequest(
            agent=plan.agent_name,
            invocation=run.invocation.model_copy(update=bare),
            lineage=run.request.lineage if run.request else None,
        ),
        plan=plan,
        started_at=run.clock.started_at,
        deadline_at=run.clock.deadline_at or run.clock.started_at,
        tokens_limit=allowance.tokens,
        micro_usd_limit=allowance.micro_usd,
        iterations_limit=allowance.iterations,
        idle_seconds=run.clock.idle.total_seconds(),
        resumed_at=run.clock.resumed_at,
        reserved=run.reserved,
        iteration=loop.iteration,
        usage=ledger.usage,
        cost_micro_usd=ledger.cost_micro_usd,
        tool_calls=ledger.tool_calls,
        saved_at=run.saved_at,
        descendants=run.descendants,
        descendants_left=run.descendants_left,
        events_total=ledger.events_total,
        events=tuple(ledger.events[told:]),
        steps=_newest_steps(ledger),
        steps_total=ledger.total,
        steer_ids=run.steer.ids,
        critic=run.critic if plan.watched else None,
        files=tuple(run.files),
        files_also=run.files_also,
        warnings=tuple(run.warnings),
        guard_errors=loop.guards.errors,
        guard_streaks=loop.guards.streaks,
        guard_known=tuple(loop.guards.known),
        folds=loop.folding.count,
        compact_from=loop.folding.retry_from,
        blanks=loop.replies.blanks,
        repairs=loop.replies.repairs,
        phase_index=progress.index,
        phase_opened=progress.opened,
        phase_began=progress.began,
        phase_deadline_at=progress.deadline_at,
        phase_outputs=tuple(progress.outputs),
        message_count=len(messages),
        from_execution=workflow.info().run_id,
    )
    size = json_bytes(carry) + sum(json_bytes(m) + 1 for m in messages)
    if size > MAX_CARRY_BYTES:
        return carry
    return carry.model_copy(update={"messages": tuple(messages)})


def _newest_steps(ledger: Ledger) -> tuple[StepRecord, ...]:
    steps, room = ledger.newest(MAX_CARRIED_STEPS), STEPS_BYTES
    first = len(steps)
    while first > 0 and (room := room - json_bytes(steps[first - 1]) - 1) >= 0:
        first -= 1
    return steps[first:]


def unpack_run(carry: Carry, run: Run) -> None:
    """Set the next execution's run where the last one stopped; what signals brought stays."""
    plan = run.plan = carry.plan
    run.wired = plan.wired
    run.reserved = carry.reserved
    run.iteration = carry.iteration
    run.clock.deadline_at = carry.deadline_at
    run.clock.idle += timedelta(seconds=carry.idle_seconds)
    run.clock.resumed_at = run.clock.resumed_at or carry.resumed_at
    lineage = carry.request.lineage
    if lineage is not None:
        run.clock.cap(lineage.seconds)
    if plan.watched is not None:
        run.clock.reach(plan.reach_seconds)
        run.critic = carry.critic or run.critic
    run.depth_left = min(
        plan.bounds.delegation_depth,
        lineage.depth_left if lineage else plan.bounds.delegation_depth,
    )
    run.saved_at = carry.saved_at
    run.descendants, run.descendants_left = carry.descendants, carry.descendants_left
    allowance = run.allowance = Allowance.of(plan)
    allowance.tokens, allowance.micro_usd = carry.tokens_limit, carry.micro_usd_limit
    allowance.iterations = carry.iterations_limit or allowance.iterations
    run.steer.put_back(carry.steer)
    run.steer.remember(carry.steer_ids)
    run.files_also = carry.files_also
    run.files, run.warnings = list(carry.files), list(carry.warnings)
    run.progress = Progress(
        index=carry.phase_index,
        opened=carry.phase_opened,
        began=carry.phase_began,
        deadline_at=carry.phase_deadline_at,
        outputs=list(carry.phase_outputs),
    )
    ledger = _unpack_ledger(carry)
    for event in (*carry.events, *run.ledger.events):
        ledger.adopt(event)
    ledger.resets = run.ledger.resets
    run.ledger = ledger
    for message in carry.messages or ():
        run.transcript.append(message)


def _unpack_ledger(carry: Carry) -> Ledger:
    return Ledger(
        earlier=carry.steps,
        steps_before=carry.steps_total,
        events_total=carry.events_total - len(carry.events),
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
    loop.folding.count = carry.folds
    loop.folding.retry_from = carry.compact_from
    loop.replies.blanks = carry.blanks
    loop.replies.repairs = carry.repairs
