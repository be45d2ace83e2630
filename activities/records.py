"""Rows in the audit, under the execution that made them; resets before anything that came after."""

from collections import OrderedDict

from temporalio import activity

from executus.activities.host import Host
from executus.audit import AuditRow, in_execution
from executus.contracts import RunKey
from executus.ports import Audit
from executus.resets import Descent, descent_of, tell_resets

KEPT = 1_000
"""Executions whose descent a worker remembers: none of them is a run's first one."""


class Records:
    """The record of one host, as its activities write it."""

    def __init__(self, host: Host) -> None:
        self._audit: Audit | None = host.ports.audit
        self._known: OrderedDict[str, Descent] = OrderedDict()

    async def descent(self, key: RunKey) -> Descent:
        """Where the execution comes from that this activity is of.

        The record is told of its resets the first time, so that it is open again for what comes.

        Raises:
            RPCError: Temporal could not be asked.
            StoreError: the record could not be told.
        """
        execution = activity.info().workflow_run_id or key.workflow_run_id
        if execution == key.workflow_run_id:
            return Descent(execution, (execution,))
        found = self._known.get(execution)
        if found is None:
            client = activity.client()
            found = await descent_of(client, key.run_id, execution, key.workflow_run_id)
            if self._audit is not None:
                await tell_resets(self._audit, key.run_id, found)
            self._known[execution] = found
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found

    async def record(self, key: RunKey, row: AuditRow) -> None:
        """Write a row of what this activity did."""
        if self._audit is None:
            return
        name = (await self.descent(key)).name
        if name:
            row = row.model_copy(update={"key": in_execution(row.key, name)})
        await self._audit.record(key.run_id, [row])
