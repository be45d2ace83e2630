"""Follow one run to its end, and pass Ctrl-C on to it."""

import asyncio
import contextlib
import signal
from datetime import timedelta
from enum import Enum

from temporalio.client import WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.service import RPCError

from executus.cli.family import below
from executus.cli.live import View, duration, labelled
from executus.cli.retries import Retries
from executus.cli.user import user
from executus.connect import AWAY
from executus.errors import ExecutusError
from executus.result import RunResult
from executus.runs import Runs
from executus.sanitize import clean_line
from executus.state import LiveState
from executus.waits import wait_lines

POLL_SECONDS = 0.25
QUERY_SECONDS = 5.0
BELOW_SECONDS = 2.0
"""Between two looks at what sub-agents wait for: a query each."""
SILENCE_SECONDS = 15.0
"""A run that no worker took in this time has probably no worker at all."""
TROUBLE = (
    TimeoutError,
    RPCError,
    ExecutusError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
"""What a look at a run may end in; the next one may do better."""
AWAY_SECONDS = 1.0
"""Between two tries to reach Temporal again."""
MAX_WHY = 200
"""Characters of why it does not answer."""


class Interrupt(Enum):
    """What a person or a supervisor wants of this process."""

    STOP = "stop"
    """Ctrl-C: stop the run, then us."""
    LEAVE = "leave"
    """SIGTERM: end this process; the run goes on."""


def interrupts() -> asyncio.Queue[Interrupt]:
    """Signals of this process, in order of arrival; call it inside the running loop."""
    queue: asyncio.Queue[Interrupt] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, queue.put_nowait, Interrupt.STOP)
    loop.add_signal_handler(signal.SIGTERM, queue.put_nowait, Interrupt.LEAVE)
    return queue


class Follower:
    """Waits for a run's result and shows its steps meanwhile.

    The first Ctrl-C stops the run by its `cancel` signal and goes on waiting: the result of a
    stopped run is worth having. The second one does not wait; SIGTERM leaves the run alone.
    """

    def __init__(
        self,
        runs: Runs,
        run_id: str,
        view: View,
        signals: asyncio.Queue[Interrupt],
        *,
        patient: bool = True,
    ) -> None:
        """`patient`: a Temporal that is away is waited for. Nobody starts our own one again."""
        self.interrupted = False
        """Whether Ctrl-C was pressed."""
        self.stopping = False
        """Whether the run was told to stop."""
        self._runs = runs
        self._run_id = run_id
        self._view = view
        self._signals = signals
        self._patient = patient
        self._told: set[str] = set()
        self._below: dict[str, tuple[str, str]] = {}
        self._look_below_at = 0.0

    async def wait(self) -> RunResult | None:
        """The run's result, or None when we were told to leave it.

        Raises:
            RPCError: Temporal refuses to tell, or is away and nobody brings it back.
        """
        result = asyncio.create_task(self._result())
        told = asyncio.create_task(self._told_to_leave())
        poll = asyncio.create_task(self._poll())
        try:
            await asyncio.wait({result, told}, return_when=asyncio.FIRST_COMPLETED)
            if told.done():
                told.result()
                return None
            return result.result()
        finally:
            for task in (result, told, poll):
                task.cancel()
            await asyncio.gather(result, told, poll, return_exceptions=True)

    async def _result(self) -> RunResult:
        """The run's result, however often Temporal goes away meanwhile."""
        while True:
            try:
                return await self._runs.result(self._run_id)
            except RPCError as error:
                if error.status not in AWAY or not self._patient:
                    raise
                await self._wait_for_temporal(error)

    async def _wait_for_temporal(self, error: RPCError) -> None:
        began = asyncio.get_running_loop().time()
        why = clean_line(error.message, MAX_WHY)
        self._view.note(labelled("waiting", f"Temporal does not answer: {why}"))
        while True:
            await asyncio.sleep(AWAY_SECONDS)
            if await self._answers():
                break
        waited = duration(asyncio.get_running_loop().time() - began)
        self._view.note(labelled("going on", f"Temporal answers again: waited {waited}"))

    async def _answers(self) -> bool:
        """Whether Temporal says anything about the run."""
        handle = self._runs.client.get_workflow_handle(self._run_id)
        try:
            await handle.describe(rpc_timeout=timedelta(seconds=QUERY_SECONDS))
        except RPCError as error:
            return error.status not in AWAY
        return True

    async def _told_to_leave(self) -> None:
        while await self._signals.get() is Interrupt.STOP:
            if self.interrupted:
                return
            self.interrupted = True
            self._view.note("stopping the run; Ctrl-C again does not wait for its result")
            try:
                await self._runs.cancel(self._run_id, "Ctrl-C", by=user())
                self.stopping = True
            except (RPCError, ExecutusError) as error:
                self._view.note(f"cannot stop it: {error}")

    async def _tell(self, state: LiveState) -> None:
        """Say once what the run and its sub-agents wait for people to do."""
        now = asyncio.get_running_loop().time()
        if now >= self._look_below_at:
            self._look_below_at = now + BELOW_SECONDS
            self._below = await self._lines_below(state)
        lines = wait_lines(state) | self._below
        for key in sorted(lines.keys() - self._told):
            what, how = lines[key]
            self._view.note(what)
            self._view.note(f"  {how}")
        self._told = set(lines)

    async def _lines_below(self, state: LiveState) -> dict[str, tuple[str, str]]:
        """What runs of sub-agents wait for, on every level."""
        found: dict[str, tuple[str, str]] = {}
        async for child in below(state, self._runs.state):
            found |= {f"{child.run_id} {key}": line for key, line in wait_lines(child).items()}
        return found

    async def _poll(self) -> None:
        began = asyncio.get_running_loop().time()
        retries = Retries(self._runs.client, self._run_id, self._view)
        seen = said = False
        while True:
            with contextlib.suppress(*TROUBLE):
                async with asyncio.timeout(QUERY_SECONDS):
                    await retries.tell()
            with contextlib.suppress(*TROUBLE):
                async with asyncio.timeout(QUERY_SECONDS):
                    state = await self._runs.state(self._run_id)
                    self._view.show(state)
                    seen = True
                    await self._tell(state)
            silent = asyncio.get_running_loop().time() - began > SILENCE_SECONDS
            if silent and not seen and not said:
                said = True
                self._view.note("no worker has taken the run yet; start one: executus worker")
            await asyncio.sleep(POLL_SECONDS)
