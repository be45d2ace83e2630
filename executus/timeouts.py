"""How long Temporal lets a run live: the backstop behind the run's own timer."""

STOP_SECONDS = 30.0
"""For activities to notice a cancel: heartbeat timeout and its throttle, twice."""
OUTAGE_SECONDS = 3_600.0
"""For queueing and for workers that are away; max_runtime starts when the run starts working."""


def execution_seconds(runtime: float, cleanup: float) -> float:
    """Execution timeout of a run: runtime, stop time, cleanup (all in seconds), outage margin."""
    return runtime + STOP_SECONDS + cleanup + OUTAGE_SECONDS
