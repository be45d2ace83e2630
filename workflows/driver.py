"""One run, or one execution of a long one, from first to last: and know why it stopped.

Three tasks: the body (prepare, loop), one run-long timer, and after them the cleanup
(`AgentRun.run`); a fourth where a critic watches. The driver only waits, so it alone decides what a
cancel means.
"""

import asyncio

from temporalio import workflow
from temporalio.exceptions import is_cancelled_exception

from executus.carry import Carry
from executus.contracts import RunKey
from executus.status import Reason, Status
from executus.workflows.answer import best_text
from executus.workflows.body import Body
from executus.workflows.controls import Controls
from executus.workflows.ending import Ending
from executus.workflows.handover import unpack_run
from executus.workflows.run import Run
from executus.workflows.scope import wait_for_end
from executus.workflows.watch import Watch


class RunDriver:
    """The life of one run; plain Python that lives in the workflow."""

    def __init__(self, key: RunKey) -> None:
        self.run = Run(key)
        self.controls = Controls(self.run)
        self._watch = Watch(self.run, self.controls)
        self._body = Body(self.run, self.controls, self._watch)

    @property
    def carry(self) -> Carry | None:
        """What the next execution needs, once this one is full."""
        return self._body.carry

    async def drive(self, earlier: Carry | None) -> Ending | None:
        """Run the run's request to an ending, whatever cancels and signals arrive. Never raises.

        None: the history is full, and `carry` is what the next execution needs.
        """
        run, controls = self.run, self.controls
        run.clock.started_at = earlier.started_at if earlier else workflow.now()
        timer = asyncio.create_task(run.clock.run_out())
        body = asyncio.create_task(self._body.work(earlier))
        controls.attach(body)
        await wait_for_end(body, on_cancel=controls.cancelled, others=[timer])
        if not body.done():
            used, done = run.clock.seconds_elapsed(), run.ledger.total
            text = f"deadline: {used:.0f} s used, {done} steps done"
            controls.stop(Status.TIMEOUT, Reason.DEADLINE, text, by="deadline")
            await wait_for_end(body, on_cancel=controls.cancelled)
        timer.cancel()
        if earlier is not None and run.plan is None:  # a stop came before the body took it up
            unpack_run(earlier, run)
        run.ending = self._outcome(body)  # first: no decision that comes now counts any more
        await self._watch.end()
        if run.ending is not None:
            run.empty_inbox()
        return run.ending

    def _outcome(self, body: asyncio.Task[Ending | None]) -> Ending | None:
        stop = self.run.stop_why
        if not body.cancelled() and body.exception() is None:
            ending = body.result()
            # A stop that met the handover counts: the next execution would not hear of it.
            return self._stopped(stop) if ending is None and stop else ending
        error = None if body.cancelled() else body.exception()
        if (error is None or is_cancelled_exception(error)) and stop is not None:
            return self._stopped(stop)
        # A bug, in executus or its host: end the run with it instead of hanging the workflow task.
        workflow.logger.error("executus: bug in the run", exc_info=error)
        text = f"internal error: {type(error).__name__}: {error}"[:1_000]
        return Ending(Status.ERROR, Reason.INTERNAL, self._partial(), error=text)

    def _stopped(self, why: Ending) -> Ending:
        return Ending(why.status, why.reason, self._partial(), error=why.error)

    def _partial(self) -> str:
        return best_text(self.run.transcript.messages)
