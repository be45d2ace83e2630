"""Pulse: signs of life of a run that its history does not show.

Pulled when somebody looks, never pushed: a tool's heartbeats and a child run's steps cost the run
no event. An automatic beat says that a worker is alive, not that its work goes on, so only what the
work itself said counts (`executus.activities.heartbeat`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio import activity
from temporalio.api.workflow.v1 import PendingActivityInfo, PendingChildExecutionInfo
from temporalio.client import WorkflowQueryFailedError
from temporalio.service import RPCError

from executus.activities.heartbeat import is_mark, quiet_seconds
from executus.contracts import AGENT_RUN, CRITIC, QUERY_STATE
from executus.critic_view import PendingWork
from executus.pending import last_failure
from executus.redact import Redactor
from executus.sanitize import clean_line, json_text
from executus.state import LiveState

QUERY_SECONDS = 5.0
MAX_RUNS = 40
"""Child runs asked in one look, at all levels."""
MAX_WORK = 50
"""Things under way that are told of."""
MAX_SAID = 400
"""Characters kept of what one of them says."""


@dataclass(slots=True)
class Pulse:
    """What a look around found."""

    at: datetime
    """Workflow time of the look."""
    redactor: Redactor
    """Hides secrets in what is told."""
    active_at: datetime | None = None
    """Latest sign of life; None: there is none."""
    work: list[PendingWork] = field(default_factory=list[PendingWork])
    """What is under way."""
    runs: int = 0
    """Runs asked so far."""

    def alive(self, seconds_ago: float) -> None:
        """Note a sign of life."""
        when = self.at - timedelta(seconds=max(0.0, seconds_ago))
        self.active_at = when if self.active_at is None else max(self.active_at, when)

    def note(self, work: PendingWork) -> None:
        """Note something that is under way."""
        if work.quiet_seconds is not None:
            self.alive(work.quiet_seconds)
        if len(self.work) < MAX_WORK:
            self.work.append(work)

    def line(self, text: str) -> str:
        """One redacted line."""
        return clean_line(self.redactor.text(text), MAX_SAID)


async def feel_pulse(run_id: str, at: datetime, redactor: Redactor) -> Pulse:
    """Look at what a run waits for, and at the runs below it.

    Raises:
        RPCError: the run itself cannot be described. A child that cannot be asked is left out.
    """
    pulse = Pulse(at, redactor)
    await _describe(run_id, pulse)
    return pulse


async def _describe(run_id: str, pulse: Pulse) -> None:
    pulse.runs += 1
    client = activity.client()
    about = await client.get_workflow_handle(run_id).describe(
        rpc_timeout=timedelta(seconds=QUERY_SECONDS)
    )
    raw = about.raw_description
    for pending in raw.pending_activities:
        if pending.activity_type.name == CRITIC:
            continue
        details: Sequence[object] = await client.data_converter.decode(
            pending.heartbeat_details.payloads
        )
        pulse.note(_work(pending, details, await last_failure(client, pending), pulse))
    for child in raw.pending_children:
        if child.workflow_type_name == AGENT_RUN and pulse.runs < MAX_RUNS:
            await _child(child, pulse)


def _work(
    pending: PendingActivityInfo, details: Sequence[object], failure: str, pulse: Pulse
) -> PendingWork:
    """An activity. Its details are as old as its last beat, and the mark in them older still."""
    quiet = quiet_seconds(details)
    if quiet is not None and pending.HasField("last_heartbeat_time"):
        quiet += max(0.0, _age(pending.last_heartbeat_time, pulse.at))
    said = [d if isinstance(d, str) else json_text(d) for d in details if not is_mark(d)]
    between = pending.HasField("next_attempt_schedule_time")
    return PendingWork(
        name=pending.activity_type.name,
        attempt=max(1, pending.attempt),
        seconds=None if between else max(0.0, _age(pending.last_started_time, pulse.at)),
        quiet_seconds=quiet,
        said=pulse.line(" ".join(said)),
        failure=pulse.line(failure),
    )


async def _child(child: PendingChildExecutionInfo, pulse: Pulse) -> None:
    """A child run: its own steps count, and whatever goes on below it."""
    handle = activity.client().get_workflow_handle(child.workflow_id)
    try:
        state = await handle.query(
            QUERY_STATE, result_type=LiveState, rpc_timeout=timedelta(seconds=QUERY_SECONDS)
        )
        pulse.note(_child_work(child.workflow_id, state, pulse))
        await _describe(child.workflow_id, pulse)
    except (RPCError, WorkflowQueryFailedError) as error:
        activity.logger.info("executus: child %s could not be asked: %s", child.workflow_id, error)


def _child_work(run_id: str, state: LiveState, pulse: Pulse) -> PendingWork:
    quiet = None
    if state.stage == "paused":
        quiet = 0.0  # it waits for people: nothing that a critic could cure
    elif state.active_at is not None:
        quiet = max(0.0, (pulse.at - state.active_at).total_seconds())
    newest = state.steps[-1] if state.steps else None
    last = f", {newest.kind} {newest.status}: {newest.summary}" if newest else ""
    said = f"{state.agent}: {state.stage}, iteration {state.iteration}{last}"
    seconds = max(0.0, (pulse.at - state.started_at).total_seconds())
    return PendingWork(name=run_id, seconds=seconds, quiet_seconds=quiet, said=pulse.line(said))


def _age(then: Timestamp, at: datetime) -> float:
    return (at - then.ToDatetime(UTC)).total_seconds()
