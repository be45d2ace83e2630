"""Run activities: the one place where options become Temporal's."""

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType, ActivityHandle

from executus.data import Data

T = TypeVar("T")

QUEUE_WAIT = 60.0
"""Seconds a step waits for a worker of another task queue before it fails as never started."""


class Nothing(Data):
    """Result of an activity that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Bounds of one activity; times in seconds. Every one has an end, retries included."""

    whole: float
    """From scheduling to the outcome, retries and waiting included (schedule_to_close)."""
    attempt: float
    """One attempt (start_to_close)."""
    attempts: int = 0
    """Attempts; 0 = as many as `whole` allows."""
    longest_pause: float = 60.0
    """Between attempts: 1 s, doubling up to this."""
    heartbeat: float | None = None
    """Silence after which a worker is taken for dead; None = it does not beat."""
    task_queue: str | None = None
    """None = the workflow's own."""
    queue_wait: float | None = None
    """Wait for a worker; None = as long as `whole`."""


def perform(
    name: str, argument: Data, kind: type[T], options: Options, summary: str
) -> ActivityHandle[T]:
    """Run an activity. One that beats is waited for until it has stopped, others are not.

    The handle itself and not a coroutine around it: a run that waits keeps every frame between.

    WAIT_CANCELLATION_COMPLETED for those that beat: otherwise cleanup would begin while a tool
    still acts (reliability.md F3).

    Awaiting it raises:
        ActivityError: it failed, timed out or was cancelled.
        CancelledError: it was cancelled in the workflow task that began it, and never left.
    """
    wait, beat = options.queue_wait, options.heartbeat
    return workflow.start_activity(
        name,
        argument,
        result_type=kind,
        summary=summary,
        task_queue=options.task_queue,
        schedule_to_close_timeout=timedelta(seconds=options.whole),
        start_to_close_timeout=timedelta(seconds=min(options.attempt, options.whole)),
        schedule_to_start_timeout=None if wait is None else timedelta(seconds=wait),
        heartbeat_timeout=None if beat is None else timedelta(seconds=beat),
        retry_policy=_retry(options.longest_pause, options.attempts),
        cancellation_type=ActivityCancellationType.TRY_CANCEL
        if beat is None
        else ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


def perform_local(
    name: str, argument: Data, kind: type[T], options: Options, summary: str
) -> ActivityHandle[T]:
    """Run a quick, pure activity inside the workflow task: one event instead of six.

    Awaiting it raises:
        ActivityError: it failed, timed out or was cancelled.
        CancelledError: as of `perform`.
    """
    return workflow.start_local_activity(
        name,
        argument,
        result_type=kind,
        summary=summary,
        schedule_to_close_timeout=timedelta(seconds=options.whole),
        start_to_close_timeout=timedelta(seconds=min(options.attempt, options.whole)),
        retry_policy=_retry(options.longest_pause, options.attempts),
    )


@lru_cache(maxsize=256)
def _retry(longest_pause: float, attempts: int) -> RetryPolicy:
    """One for all that have the same; the SDK only reads it."""
    return RetryPolicy(
        initial_interval=timedelta(seconds=1),
        maximum_interval=timedelta(seconds=longest_pause),
        maximum_attempts=attempts,
    )
