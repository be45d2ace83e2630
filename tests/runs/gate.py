"""Hold an activity at its door: to cancel, stop or kill a run in any phase."""

import asyncio
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor


class Gate(Interceptor):
    """Activities of `kind` wait at the door: `entered` is set, then they wait for `open`.

    While waiting they heartbeat, so that a cancel reaches them.
    """

    def __init__(self, kind: str, error: BaseException | None = None, after: bool = False) -> None:
        self.kind = kind
        self.error = error
        self.after = after
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.count = 0

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Door(next, self)


class _Door(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, gate: Gate) -> None:
        super().__init__(next)
        self.gate = gate

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        if activity.info().activity_type != self.gate.kind:
            return await super().execute_activity(input)
        gate = self.gate
        gate.count += 1
        gate.entered.set()
        if gate.error is not None:
            raise gate.error
        while not gate.open.is_set():
            activity.heartbeat()
            try:
                await asyncio.wait_for(gate.open.wait(), 0.05)
            except TimeoutError:
                continue
        return await super().execute_activity(input)
