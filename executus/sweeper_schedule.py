"""A Temporal Schedule that sweeps."""

from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
)
from temporalio.service import RPCError, RPCStatusCode

from executus.sweeper_workflow import SCHEDULE_ID, SWEEP_WORKFLOW, SweepInput


async def install(
    client: Client, task_queue: str, every: timedelta, asked: SweepInput | None = None
) -> bool:
    """Create the schedule, or bring the one that is there to these settings; True when created."""
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            SWEEP_WORKFLOW,
            asked or SweepInput(),
            id=SCHEDULE_ID,
            task_queue=task_queue,
            execution_timeout=timedelta(hours=2),
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )
    try:
        await client.create_schedule(SCHEDULE_ID, schedule)
    except ScheduleAlreadyRunningError:
        handle = client.get_schedule_handle(SCHEDULE_ID)
        await handle.update(lambda _: ScheduleUpdate(schedule=schedule))
        return False
    return True


async def uninstall(client: Client) -> bool:
    """Forget the schedule; False when there was none."""
    try:
        await client.get_schedule_handle(SCHEDULE_ID).delete()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def installed(client: Client) -> Schedule | None:
    """The schedule, if there is one."""
    try:
        return (await client.get_schedule_handle(SCHEDULE_ID).describe()).schedule
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None
