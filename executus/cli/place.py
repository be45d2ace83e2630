"""Where a command works: the Temporal that the environment names, or this folder's own server."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from temporalio.api.enums.v1 import TaskQueueType, WorkerStatus
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    ListWorkersRequest,
)
from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile
from temporalio.service import RPCError

from executus.connect import load_profile, ui_base
from executus.server import EmbeddedServer
from executus.settings import Settings

POLL_AGE = timedelta(seconds=75)
"""A worker renews its long poll every 60 s; an older one is the memory of a worker that is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A Temporal server, and how people look at it."""

    profile: ClientConfigProfile
    """How to connect."""
    ui: str | None
    """Address of its UI, when known."""
    embedded: bool
    """Whether it is the folder's own server."""
    ours: bool
    """Whether this process started it, so that it stops with us."""

    def link(self, client: Client, run_id: str) -> str | None:
        """Address of a run's page in the Temporal UI."""
        if self.ui is None:
            return None
        return f"{self.ui}/namespaces/{quote(client.namespace)}/workflows/{quote(run_id, safe='')}"


@asynccontextmanager
async def open_place(settings: Settings) -> AsyncGenerator[Place]:
    """The server that Temporal's own configuration names; without an address, the embedded one."""
    profile = load_profile()
    if profile.address:
        ui = ui_base(profile, settings.ui_url)
        yield Place(profile=profile, ui=ui, embedded=False, ours=False)
        return
    server = EmbeddedServer(
        settings.data_dir,
        ui_port=settings.ui_port,
        namespace=profile.namespace or "default",
        wait_for_stop=False,  # a person waits for the prompt, not for the server's last second
    )
    async with server:
        yield Place(
            profile=server.profile, ui=server.ui_url, embedded=True, ours=server.start_seconds > 0
        )


async def has_worker(client: Client, task_queue: str) -> bool:
    """Whether a worker polls `task_queue` for workflows, as far as the server knows.

    Its list of pollers remembers a stopped worker for minutes; its newer list of workers says which
    ones are stopping, and knows a new one after its first heartbeat only, a minute from its start.
    A worker that was killed looks alive until its poll is old.
    """
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    oldest = datetime.now(UTC) - POLL_AGE
    polled = {
        poller.identity: poller.last_access_time.ToDatetime(UTC)
        for poller in answer.pollers
        if poller.last_access_time.ToDatetime(UTC) > oldest
    }
    known = await _heartbeats(client, task_queue) if polled else []
    return any(_serves(identity, at, known) for identity, at in polled.items())


def _serves(identity: str, polled_at: datetime, known: Sequence[WorkerHeartbeat]) -> bool:
    """Whether a poller goes on, as far as is known: it is no worker that has stopped since.

    A worker that was started again may have the identity of the one before it (`1@host`).
    """
    own = [beat for beat in known if beat.worker_identity == identity]
    if any(beat.status == WorkerStatus.WORKER_STATUS_RUNNING for beat in own):
        return True
    return all(polled_at > beat.heartbeat_time.ToDatetime(UTC) for beat in own)


async def _heartbeats(client: Client, task_queue: str) -> list[WorkerHeartbeat]:
    """What the queue's workers said last, where the server knows them."""
    if "'" in task_queue or "\\" in task_queue:  # not to be quoted in a query
        return []
    request = ListWorkersRequest(
        namespace=client.namespace, page_size=100, query=f"TaskQueue='{task_queue}'"
    )
    try:
        workers = (await client.workflow_service.list_workers(request)).workers_info
    except RPCError:  # an older server, or a key that may not ask
        return []
    return [item.worker_heartbeat for item in workers]
