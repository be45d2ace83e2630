"""Pipeline: the phases of a run, one after the other, over one append-only transcript.

Each phase is a loop of its own. A message of role `phase` opens it and folds what earlier phases
said, so the model sees a fresh conversation and the record keeps everything.
"""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

from executus.fork_end import PHASES_DONE
from executus.message import Fold, Message, TextPart
from executus.plan import PhasePlan, RunPlan
from executus.sanitize import cap_text
from executus.status import Reason, Status
from executus.transcript import Transcript
from executus.workflows.allowance import Allowance
from executus.workflows.ending import Ending
from executus.workflows.inbox import Inbox
from executus.workflows.ledger import Ledger
from executus.workflows.loop import AgentLoop, Stretch
from executus.workflows.loop_engine import Engine
from executus.workflows.phase_plan import output_share, phase_plan
from executus.workflows.progress import Progress
from executus.workflows.salvage import salvage

EXHAUSTED = frozenset({Reason.MAX_ITERATIONS, Reason.TOOL_LOOP, Reason.TOOL_ERRORS})
"""Ends of a required phase that still leave something to go on with."""
OPENING = "[executus] Phase `{name}` begins ({number} of {count})." + PHASES_DONE
NO_OUTPUT = "[phase `{name}` failed ({reason}) and has no output]"


class PhaseOver(Exception):
    """A phase's own time is up; the run's is not."""


class PhaseEngine(Engine, Protocol):
    """What a pipeline needs besides: see `Engine`."""

    def follow(self, plan: RunPlan) -> None:
        """Carry out the steps from now on by this plan."""
        ...

    async def within(
        self, work: Coroutine[Any, Any, Ending | None], seconds: float | None
    ) -> Ending | None:
        """Do the work, for at most so many seconds. A stop of the run passes through as a cancel.

        Raises:
            PhaseOver: the seconds have passed.
        """
        ...


class Pipeline:
    """Drives the phases from where `progress` says. Call `run` once."""

    def __init__(
        self,
        plan: RunPlan,
        progress: Progress,
        transcript: Transcript,
        ledger: Ledger,
        *,
        steer: Inbox,
        engine: PhaseEngine,
        allowance: Allowance,
        iteration: int = 0,
    ) -> None:
        self._plan = plan
        self._progress = progress
        self._transcript = transcript
        self._ledger = ledger
        self._steer = steer
        self._engine = engine
        self._allowance = allowance
        self._iteration = iteration
        self._folds = 0
        self.loop: AgentLoop | None = None
        """The present phase's."""

    @property
    def phase(self) -> PhasePlan:
        """The present one."""
        return self._plan.phases[self._progress.index]

    async def run(self, take_up: Callable[[AgentLoop], None] | None = None) -> Ending | None:
        """Run phase after phase to an ending; None: the history is full, as `AgentLoop.run` says.

        `take_up` sets the loop of a phase that an earlier execution began.
        """
        while True:
            loop = self._open(take_up)
            take_up = None
            ending = await self._work(loop)
            if ending is None:
                return None
            self._iteration, self._folds = loop.iteration, loop.folding.count
            final = self._settle(ending, loop.dialogue.own)
            if final is not None:
                return final

    # -- one phase -----------------------------------------------------------------------------

    def _open(self, take_up: Callable[[AgentLoop], None] | None) -> AgentLoop:
        """The loop of the present phase: a fresh one, or one that goes on."""
        progress, phase = self._progress, self.phase
        self._ledger.phase = phase.name
        query = self._transcript.messages[0].text
        plan = phase_plan(self._plan, progress.index, query, progress.outputs)
        self._engine.follow(plan)
        self._allowance.targets = plan.targets
        if not progress.opened:
            self._begin(phase)
        stretch = Stretch(
            began=progress.began,
            since=_first_own(self._transcript),
            bare=phase.bare,
            keep_opening=True,
        )
        self.loop = loop = AgentLoop(
            plan,
            self._transcript,
            self._ledger,
            steer=self._steer,
            engine=self._engine,
            allowance=self._allowance,
            stretch=stretch,
        )
        loop.folding.count = self._folds
        if take_up is not None:
            take_up(loop)
        return loop

    def _begin(self, phase: PhasePlan) -> None:
        progress, now = self._progress, self._engine.now()
        progress.opened = True
        progress.began = self._iteration
        seconds = phase.max_runtime
        progress.deadline_at = None if seconds is None else now + timedelta(seconds=seconds)
        self._allowance.iterations = phase.max_iterations
        number, count = progress.index + 1, len(self._plan.phases)
        self._event("phase_started", f"{phase.name} ({number} of {count})")
        if progress.index:
            text = OPENING.format(name=phase.name, number=number, count=count)
            fold = Fold(start=1, end=len(self._transcript))
            self._transcript.append(Message(role="phase", parts=(TextPart(text=text),), fold=fold))

    async def _work(self, loop: AgentLoop) -> Ending | None:
        until = self._progress.deadline_at
        seconds = None if until is None else max(0.0, (until - self._engine.now()).total_seconds())
        try:
            return await self._engine.within(loop.run(), seconds)
        except PhaseOver:
            text = f"its {self.phase.max_runtime:g} s are used"
            ending = loop.dialogue.stopped(Status.ERROR, Reason.DEADLINE, text)
        return ending

    # -- what an ending leads to ---------------------------------------------------------------

    def _settle(self, ending: Ending, said: list[Message]) -> Ending | None:
        """The run's ending, or None to go on with the next phase."""
        last = self._progress.index == len(self._plan.phases) - 1
        settled = self._answered(ending) or self._passed_over(ending)
        if settled is None:
            return self._broken_off(ending, said, last=last)
        if last:
            return settled
        self._next(settled.output)
        return None

    def _answered(self, ending: Ending) -> Ending | None:
        if ending.status is not Status.OK:
            return None
        self._event("phase_ended", f"{self.phase.name}: ok")
        return ending

    def _passed_over(self, ending: Ending) -> Ending | None:
        """The fallback of an optional phase in which something went wrong.

        A stop, the run's own deadline and its limits on tokens and money mean the run, whatever
        the phase is.
        """
        phase = self.phase
        if not phase.optional or ending.status is not Status.ERROR:
            return None
        self._event("phase_failed", f"{self._error(ending)}; its fallback is used", ending.reason)
        output = phase.fallback or NO_OUTPUT.format(name=phase.name, reason=ending.reason.value)
        return Ending(Status.OK, Reason.ANSWER, output)

    def _broken_off(self, ending: Ending, said: list[Message], *, last: bool) -> Ending | None:
        """The run's ending; None when there are later phases and something to go on with."""
        phase, error = self.phase, self._error(ending)
        output = ending.output
        if ending.reason in EXHAUSTED and not phase.bare:
            output = salvage(phase.name, ending.error or "", said)
            if not last:
                self._event("phase_failed", f"{error}; its last work is salvaged", ending.reason)
                self._next(output)
                return None
        self._event("phase_failed", error, ending.reason)
        output = output or (self._progress.outputs or [""])[-1]
        status = Status.TIMEOUT if ending.reason is Reason.DEADLINE else ending.status
        return replace(ending, status=status, output=output, error=error)

    def _error(self, ending: Ending) -> str:
        return f"phase `{self.phase.name}`: {ending.error}"

    def _next(self, output: str) -> None:
        progress = self._progress
        share = output_share(len(self._plan.phases))
        progress.outputs.append(cap_text(output, share, json_limit=2 * share).text)
        progress.index += 1
        progress.opened = False

    def _event(self, name: str, text: str, reason: Reason | None = None) -> None:
        phase = self.phase.name
        now = self._engine.now()
        self._ledger.event(name, text, now, phase=phase, reason=reason.value if reason else None)


def _first_own(transcript: Transcript) -> int:
    """Where the present phase's messages begin."""
    messages = transcript.messages
    opened = (i for i in range(len(messages) - 1, -1, -1) if messages[i].role == "phase")
    return next(opened, -1) + 1
