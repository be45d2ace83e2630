"""What `temporal workflow reset` did to a run, as its history tells.

A reset begins another execution from the middle of an earlier one: events up to a workflow task are
copied, and from there on everything is done anew, by an execution with an id of its own. Which of
them made an entry of the record, and what a reset put aside, stands nowhere but in that history; it
is read once an execution, and only where it is not the run's first one.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from executus.audit import AuditRow, execution_of, in_execution, step_of
from executus.contracts import COMPACT, CRITIC, MODEL, TOOL_PREFIX
from executus.stores.canonical import EPOCH, micros

RPC_TIMEOUT = timedelta(seconds=5)
MAX_ABOVE = 1_000
"""Executions that are followed back along continue-as-new."""
STEPS = (MODEL, COMPACT, CRITIC)


@dataclass(frozen=True, slots=True)
class Reset:
    """One reset."""

    execution: str
    """The execution that it began."""
    at: datetime
    """When it was asked for."""
    reason: str
    """As the operator gave it."""
    line: tuple[str, ...]
    """Executions whose work it goes on from, the oldest first."""
    history: tuple[str, ...]
    """Those of them whose events are in its own history, and so may have been put aside."""
    fork_at: datetime
    """When the task began that is done anew first."""
    kept: frozenset[str] = frozenset()
    """Steps with an outcome before that."""
    begun: frozenset[str] = frozenset()
    """Steps that had begun, as activities."""
    handled: frozenset[str] = frozenset()
    """Model turns whose calls had begun."""

    def keeps(self, step: str) -> bool:
        """Whether a step was not done anew. One that is no activity goes with its model turn."""
        turn, mark, _ = step.partition(".t")
        quick = bool(mark) and step not in self.begun and turn in self.handled
        return step in self.kept or quick


@dataclass(frozen=True, slots=True)
class Descent:
    """Where an execution of a run comes from."""

    first: str
    """The run's first execution."""
    executions: tuple[str, ...]
    """Who made the events of its history: itself last, after those that it was reset from."""
    resets: tuple[Reset, ...] = ()
    """What made them follow each other, the oldest first."""

    @property
    def name(self) -> str:
        """The execution itself, as keys have it."""
        return self.named(self.executions[-1])

    def named(self, execution: str) -> str:
        """An execution, as keys have it: the first one has no name."""
        return "" if execution == self.first else execution

    def keyed(self, row: AuditRow) -> AuditRow:
        """A row that the workflow tells, with the execution that made it in its key."""
        made = self.executions[max(0, len(self.executions) - 1 - row.resets_since)]
        key = in_execution(row.key, self.named(made))
        return row.model_copy(update={"key": key, "resets_since": 0, "across": False})

    def lacks(self, row: AuditRow, have: Collection[str]) -> bool:
        """Whether a step that the workflow tells has no row in the record yet."""
        if self.keyed(row).key in have:
            return False
        if not self.resets:
            return row.key not in have  # as versions before 0.2 wrote it
        if row.resets_since or row.across:
            return all(key.partition("@")[0] != row.key for key in have)
        return True

    def rows(self, have: Iterable[str]) -> list[AuditRow]:
        """The resets, for a record that has rows of these keys."""
        keys = list(have)
        return [self._row(reset, keys) for reset in self.resets]

    def _row(self, reset: Reset, have: Iterable[str]) -> AuditRow:
        inside = {self.named(execution) for execution in reset.history}
        back = [
            key
            for key in have
            if (step := step_of(key)) and execution_of(key) in inside and not reset.keeps(step)
        ]
        return AuditRow(
            key=in_execution("reset", self.named(reset.execution)),
            kind="reset",
            name="reset",
            status="",
            at=reset.at,
            summary=reset.reason[:200],
            content={
                "base": self.named(reset.history[-1]),
                "line": [self.named(execution) for execution in reset.line],
                "fork_at": micros(reset.fork_at),
                "back": list(back),
            },
        )


async def descent_of(client: Client, run_id: str, execution: str, first: str) -> Descent:
    """Where `execution` comes from; asks nobody about the run's first one.

    Raises:
        RPCError: Temporal could not be asked.
    """
    if not execution or execution == first:
        return Descent(first, (execution or first,))
    reader = _Reader(client, run_id)
    started = await reader.first_event(execution)
    attributes = started.workflow_execution_started_event_attributes
    original = attributes.original_execution_run_id or execution
    if original == execution:
        return Descent(first, (execution,))
    above = await reader.above(attributes.continued_execution_run_id)
    resets = await reader.resets(execution, original, above)
    return Descent(first, (original, *(reset.execution for reset in resets)), tuple(resets))


class Record(Protocol):
    """What is told of resets: an audit."""

    async def keys(self, run_id: str) -> frozenset[str]:
        """Keys of the rows that are there."""
        ...

    async def record(self, run_id: str, rows: Sequence[AuditRow]) -> None:
        """Append rows."""
        ...


async def tell_resets(audit: Record, run_id: str, descent: Descent) -> None:
    """Put the resets into the record; those that stand there already stay as they are."""
    if descent.resets:
        await audit.record(run_id, descent.rows(await audit.keys(run_id)))


@dataclass(slots=True)
class _Progress:
    """What had happened in a history up to a place in it."""

    task_at: datetime = EPOCH
    scheduled: dict[int, tuple[str, Payload]] = field(
        default_factory=dict[int, tuple[str, Payload]]
    )
    over: set[int] = field(default_factory=set[int])
    turns: set[int] = field(default_factory=set[int])
    """Of those over, the ones that a workflow task went on from."""

    def note(self, event: HistoryEvent) -> None:
        """Take an event in."""
        asked = event.activity_task_scheduled_event_attributes
        name = asked.activity_type.name
        if event.HasField("workflow_task_started_event_attributes"):
            self.task_at = _time(event)
        elif event.HasField("workflow_task_completed_event_attributes"):
            self.turns = set(self.over)
        elif (name in STEPS or name.startswith(TOOL_PREFIX)) and asked.input.payloads:
            self.scheduled[event.event_id] = name, asked.input.payloads[0]
        for ended in (
            event.activity_task_completed_event_attributes,
            event.activity_task_failed_event_attributes,
            event.activity_task_timed_out_event_attributes,
            event.activity_task_canceled_event_attributes,
        ):
            if ended.scheduled_event_id:
                self.over.add(ended.scheduled_event_id)


class _Reader:
    """Reads histories of one run."""

    def __init__(self, client: Client, run_id: str) -> None:
        self._client = client
        self._run_id = run_id
        self._steps: dict[int, str] = {}

    async def first_event(self, execution: str) -> HistoryEvent:
        """How an execution started."""
        async for event in self._events(execution, page_size=1):
            found: HistoryEvent = event
            return found
        raise RPCError("the history is empty", RPCStatusCode.NOT_FOUND, b"")

    async def above(self, execution: str) -> list[str]:
        """Executions that continued as this one, itself included, the oldest first."""
        found: list[str] = []
        while execution and len(found) < MAX_ABOVE:
            found.append(execution)
            try:
                started = await self.first_event(execution)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    break  # past the retention
                raise
            attributes = started.workflow_execution_started_event_attributes
            if attributes.original_execution_run_id not in {"", execution}:
                resets = await self.resets(execution, attributes.original_execution_run_id, [])
                found += reversed(resets[-1].line if resets else ())
            execution = attributes.continued_execution_run_id
        return list(dict.fromkeys(reversed(found)))

    async def resets(self, execution: str, original: str, above: list[str]) -> list[Reset]:
        """Those in the history of an execution that `original` began."""
        found: list[Reset] = []
        progress, before = _Progress(), [original]
        async for event in self._events(execution):
            progress.note(event)
            failed = event.workflow_task_failed_event_attributes
            if failed.cause != WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW:
                continue
            reset = Reset(
                execution=failed.new_run_id,
                at=_time(event),
                reason=failed.failure.message,
                line=(*above, *before),
                history=tuple(before),
                fork_at=progress.task_at,
            )
            found.append(await self._with_steps(reset, progress))
            before.append(failed.new_run_id)
        return found

    async def _with_steps(self, reset: Reset, progress: _Progress) -> Reset:
        steps = {place: await self._step(place, *of) for place, of in progress.scheduled.items()}
        over = {place: step for place, step in steps.items() if place in progress.over}
        return replace(
            reset,
            kept=frozenset(over.values()),
            begun=frozenset(steps.values()),
            handled=frozenset(step for place, step in over.items() if place in progress.turns),
        )

    async def _step(self, place: int, name: str, payload: Payload) -> str:
        """The step of an activity; a text that is none where its input does not read here."""
        if place not in self._steps:
            try:
                [found] = await self._client.data_converter.decode([payload])
                self._steps[place] = str(found["step_id"])
            except Exception:  # noqa: BLE001 - a codec of the host's may raise anything
                self._steps[place] = f"({name})"
        return self._steps[place]

    def _events(self, execution: str, page_size: int | None = None) -> Any:  # noqa: ANN401
        handle = self._client.get_workflow_handle(self._run_id, run_id=execution)
        return handle.fetch_history_events(page_size=page_size, rpc_timeout=RPC_TIMEOUT)


def _time(event: HistoryEvent) -> datetime:
    return event.event_time.ToDatetime(UTC)
