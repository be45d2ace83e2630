"""`executus.files.stage`: bring a run's attached files into its store."""

from temporalio import activity

from executus.activities.host import Host
from executus.contracts import FILES_STAGE, StageInput, StageOutput
from executus.staging import drop_all, stage


class FileActivities:
    """Files of runs, on one host."""

    def __init__(self, host: Host) -> None:
        self._store = host.ports.files

    @activity.defn(name=FILES_STAGE)
    async def stage(self, asked: StageInput) -> StageOutput:
        """What is kept and what is not; trouble of the store is tried again while it may be."""
        if self._store is None:
            done = drop_all(asked.files, "this worker has no file store")
        else:
            last = activity.info().attempt >= asked.attempts
            done = await stage(self._store, asked.scope, asked.files, give_up=last)
        return StageOutput(kept=done.kept, dropped=done.dropped)
