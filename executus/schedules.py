"""Schedules: start agent runs at set times, by Temporal Schedules."""

import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.service import RPCError, RPCStatusCode

from executus.backstop import Backstop
from executus.contracts import AGENT_RUN
from executus.errors import UserError
from executus.priority import priority_of
from executus.request import RunRequest
from executus.sanitize import clean_line
from executus.workflows.opening import has_content

PREFIX = "executus.run."
"""Schedule ids of ours begin with it."""
MAX_NAME = 200
"""A run's id is the name and the time, and has 255 characters at most."""
NAME = re.compile(rf"[^\x00-\x1f\x7f]{{1,{MAX_NAME}}}")
PAUSED, RESUMED = "paused", "resumed"
"""Notes of those that were paused or resumed without a reason: Temporal must have a text."""
SHORTEST = timedelta(seconds=1)
"""Temporal's shortest interval."""
CATCH_UP = timedelta(hours=1)
"""Missed starts that are made up for when Temporal was away; its own default is a year of them."""

Overlap = Literal["skip", "buffer", "allow"]
"""When the last run still goes on: skip this one, start it right after, or beside."""
OVERLAPS: dict[Overlap, ScheduleOverlapPolicy] = {
    "skip": ScheduleOverlapPolicy.SKIP,
    "buffer": ScheduleOverlapPolicy.BUFFER_ONE,
    "allow": ScheduleOverlapPolicy.ALLOW_ALL,
}


@dataclass(frozen=True, slots=True)
class Times:
    """When: cron expressions, or every so often."""

    cron: Sequence[str] = ()
    """Five fields (minute hour day month weekday), or `@daily` and the like."""
    every: timedelta | None = None
    """Or this often."""
    zone: str = "UTC"
    """IANA name of the time zone the cron expressions mean."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """One schedule, as a list shows it."""

    name: str
    """Its name."""
    paused: bool
    """Whether it starts nothing for now."""
    next_at: datetime | None
    """Its next start (UTC)."""
    last_run_id: str | None
    """The run it started last."""
    note: str
    """Why it is paused, or what it is for."""


class Schedules:
    """The schedules of one client and task queue."""

    def __init__(self, client: Client, task_queue: str, backstop: Backstop) -> None:
        """`backstop` gives each run its execution timeout, as for one that is started by hand."""
        self._client = client
        self._task_queue = task_queue
        self._backstop = backstop

    async def add(
        self,
        name: str,
        request: RunRequest,
        times: Times,
        *,
        overlap: Overlap = "skip",
        note: str = "",
        paused: bool = False,
    ) -> None:
        """Create a schedule; each run's id is its name and the time.

        Raises:
            UserError: there is one of that name, the times mean nothing or never come, or its runs
                could not begin.
        """
        problem = _problem(name, request, times)
        if problem is not None:
            raise UserError(problem)
        try:
            made = await self._client.create_schedule(
                PREFIX + name,
                Schedule(
                    action=self._action(name, request),
                    spec=_spec(times),
                    policy=SchedulePolicy(overlap=OVERLAPS[overlap], catchup_window=CATCH_UP),
                    state=ScheduleState(note=note or None, paused=paused),
                ),
            )
        except ScheduleAlreadyRunningError:
            text = f"schedule {name} is there already: remove it first, or choose another name"
            raise UserError(text) from None
        except RPCError as error:
            if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                raise
            raise UserError(f"schedule {name}: {error.message}") from None
        if not (await made.describe()).info.next_action_times:
            await made.delete()
            raise UserError(f"schedule {name}: there is no such time: it would never start a run")

    async def list(self) -> list[Scheduled]:
        """All of ours, by name."""
        found: list[Scheduled] = []
        async for entry in await self._client.list_schedules():
            if not entry.id.startswith(PREFIX):
                continue
            info, schedule = entry.info, entry.schedule
            last = info.recent_actions[-1].action if info and info.recent_actions else None
            found.append(
                Scheduled(
                    name=entry.id.removeprefix(PREFIX),
                    paused=bool(schedule and schedule.state.paused),
                    next_at=info.next_action_times[0] if info and info.next_action_times else None,
                    last_run_id=getattr(last, "workflow_id", None),
                    note=(schedule.state.note or "") if schedule else "",
                )
            )
        return sorted(found, key=lambda item: item.name)

    async def pause(self, name: str, note: str = "") -> None:
        """Start nothing until `resume`. Raises UserError: there is none of that name."""
        await _known(name, self._handle(name).pause(note=note or PAUSED))

    async def resume(self, name: str, note: str = "") -> None:
        """Start runs again. Raises UserError: there is none of that name."""
        await _known(name, self._handle(name).unpause(note=note or RESUMED))

    async def trigger(self, name: str) -> None:
        """Start a run now. Raises UserError: there is none of that name."""
        await _known(name, self._handle(name).trigger(overlap=ScheduleOverlapPolicy.ALLOW_ALL))

    async def remove(self, name: str) -> None:
        """Forget it; runs go on. Raises UserError: there is none of that name."""
        await _known(name, self._handle(name).delete())

    def _handle(self, name: str) -> ScheduleHandle:
        return self._client.get_schedule_handle(PREFIX + name)

    def _action(self, name: str, request: RunRequest) -> ScheduleActionStartWorkflow:
        agent = request.agent if isinstance(request.agent, str) else request.agent.name
        return ScheduleActionStartWorkflow(
            AGENT_RUN,
            request,
            id=name,
            task_queue=self._task_queue,
            execution_timeout=self._backstop.timeout(request),
            priority=priority_of(request.invocation),
            static_summary=clean_line(f"{agent} on schedule {name}", 200),
        )


def _problem(name: str, request: RunRequest, times: Times) -> str | None:
    """Why there can be no such schedule, if there cannot."""
    if NAME.fullmatch(name) is None:
        return (
            f"schedule {clean_line(name, 40)!r}: a name has 1 to {MAX_NAME} characters, no controls"
        )
    if request.invocation.run_id is not None:
        return "a schedule starts many runs: leave run_id out of the invocation"
    if request.origin is None and not has_content(request.invocation):
        return f"schedule {name}: nothing is asked: give the invocation a prompt, inputs or files"
    if bool(times.cron) == (times.every is not None):
        return f"schedule {name}: give cron expressions or an interval, one of both"
    if times.every is not None and times.every < SHORTEST:
        return f"schedule {name}: an interval has a second or more"
    return None


def _spec(times: Times) -> ScheduleSpec:
    intervals = [ScheduleIntervalSpec(every=times.every)] if times.every else []
    return ScheduleSpec(
        cron_expressions=list(times.cron), intervals=intervals, time_zone_name=times.zone
    )


async def _known(name: str, call: Awaitable[None]) -> None:
    try:
        await call
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise UserError(f"no schedule {name}; `executus schedule list` shows them") from None
