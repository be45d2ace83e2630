"""Run: everything that one run is while it lives in the workflow.

The pieces that work on it (driver, body, controls, engine, tool calls, cleanup) hold no state of
their own that outlives a step, so what is here is what a person sees and what is handed over.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from temporalio import workflow

from executus.audit import AuditOpen
from executus.contracts import RunKey
from executus.critic import CriticState
from executus.delivery_target import DeliveryTarget
from executus.files import MAX_ROOTS, FileRef, FileScope
from executus.invocation import Invocation
from executus.limits import Defaults
from executus.message import Message
from executus.metrics import NO_AGENT, OF_CALLER
from executus.plan import Port, RunPlan
from executus.request import RunRequest
from executus.result import MAX_RESULT_FILES
from executus.sanitize import cap_text, clean_line
from executus.state import STATE_STEPS, LiveState, Stage
from executus.steer import CALLER, MAX_STEER, SteerRequest
from executus.step import StepStatus
from executus.transcript import Transcript
from executus.workflows.allowance import Allowance
from executus.workflows.clock import Clock
from executus.workflows.details import SHOWN_STEPS, render
from executus.workflows.ending import Ending
from executus.workflows.inbox import Inbox
from executus.workflows.ledger import Ledger
from executus.workflows.prepare import audit_opening
from executus.workflows.progress import Progress
from executus.workflows.questions import Questions

MAX_WARNING = 500
"""Characters of one warning."""
TOLD_STEPS, TOLD_BYTES = 20, 32_768
"""Steps, and bytes of arguments of all questions together, that an update is answered with."""
TOO_LATE = "the run ended first"

UNWATCHED = CriticState()
"""One for all runs that nobody has looked at."""


class Run:
    """State of one run. Signals may come before the first task, so all of it is there from then."""

    def __init__(self, key: RunKey) -> None:
        self.key = key
        self.transcript = Transcript()
        self.ledger = Ledger()
        self.steer = Inbox()
        """What waits to be said to the agent."""
        self.early: list[SteerRequest] = []
        """What came before the inbox knew what an earlier execution had."""
        self.stage: Stage = "starting"
        self.request: RunRequest | None = None
        self.target: DeliveryTarget | None = None
        """Where the outcome goes; known of most requests that do not validate, too."""
        self.plan: RunPlan | None = None
        self.wired: tuple[Port, ...] | None = None
        """None until resolve has told."""
        self.reserved = False
        """Whether a budget reservation may be held."""
        self.allowance: Allowance | None = None
        self.questions = Questions()
        """What people are asked."""
        self._waits: dict[str, str] = {}
        self.iteration = 0
        """Model turns so far, in all executions."""
        self.depth_left = 0
        """Levels of child runs that may be added below this one."""
        self.descendants = 0
        """Child runs so far, all levels together."""
        self.descendants_left = 0
        """Child runs that may still be started."""
        self.progress = Progress()
        """How far it is in its phases, if the agent has any."""
        self.saved_at: datetime | None = None
        """When the host was last given a copy (workflow time)."""
        self.stop_why: Ending | None = None
        """Why it was asked to stop, if it was."""
        self.closing = False
        """Whether the last answer is under way: what comes of it ends the run."""
        self.ending: Ending | None = None
        """The outcome, once it is fixed."""
        self.files: list[FileRef] = []
        """What its tools put into the file store."""
        self.files_also: tuple[str, ...] = ()
        """Runs it was forked from, whose files it can read."""
        self.warnings: list[str] = []
        """What went wrong without stopping it."""
        self.clock = Clock(Clock.now())
        self.active_at = self.clock.started_at
        """When something last happened in it (workflow time)."""
        self.critic = UNWATCHED
        """What its watch remembers."""
        self._more_files = False

    def was_reset(self, loop: asyncio.AbstractEventLoop, seed: int) -> None:
        """Temporal has begun this execution anew from here: its random seed is another one.

        Called before anything of that task runs, and outside of `loop`, the workflow's own.
        """
        del seed
        self.ledger.was_reset()
        loop.call_soon(self._go_on_from_reset)

    def _go_on_from_reset(self) -> None:
        clock, progress = self.clock, self.progress
        clock.resumed_at, since = clock.now(), self.active_at
        # A reset that an earlier version went through has a history without the time it skipped.
        if not workflow.patched(f"executus.reset.{self.ledger.resets}"):
            return
        clock.skip(since)
        if progress.deadline_at is not None:
            progress.deadline_at += clock.now() - since

    def take(self, request: RunRequest) -> None:
        """Be the run of this request."""
        self.request, self.target = request, request.invocation.delivery

    def forget_agent(self, plan: RunPlan) -> None:
        """The plan says all that counts of the agent: do not keep it twice while the run waits."""
        if self.request is not None:
            self.request = self.request.model_copy(update={"agent": plan.agent_name})

    @property
    def bounds(self) -> Defaults:
        """The run's bounds, or the defaults before there is a plan."""
        return self.plan.bounds if self.plan else Defaults()

    @property
    def max_iterations(self) -> int:
        """The model turn that is the last one, as it is now; 0 until there is a plan."""
        return self.progress.began + self.allowance.iterations if self.allowance else 0

    @property
    def phase(self) -> str:
        """Name of the present phase; empty when the agent has none."""
        return self.ledger.phase

    def title(self, summary: str) -> str:
        """What the Temporal UI shows of an activity or a timer: its phase first."""
        return f"{self.phase} | {summary}" if self.phase else summary

    def planned(self, digest: str) -> RunPlan | None:
        """The plan of this digest, where it is the present phase's; else the run's."""
        return self.progress.plan if digest and digest == self.progress.digest else self.plan

    @property
    def invocation(self) -> Invocation:
        """Who asks; nobody before the request is decoded."""
        return self.request.invocation if self.request else Invocation()

    @property
    def files_root(self) -> str:
        """The run whose files this one shares: the top of its family; empty without a store."""
        if self.plan is None or "files" not in self.plan.wired:
            return ""
        lineage = self.request.lineage if self.request else None
        return lineage.root_run_id if lineage else self.key.run_id

    @property
    def files_roots(self) -> tuple[str, ...]:
        """Runs whose files can be read: the family's own, then those it was forked from."""
        lineage = self.request.lineage if self.request else None
        above = lineage.files_also if lineage else ()
        roots = (self.files_root, *above, *self.files_also)
        return roots[:MAX_ROOTS] if self.files_root else ()

    @property
    def file_scope(self) -> FileScope:
        """Whose files this run's are."""
        asked = self.invocation
        return FileScope(
            run_id=self.files_root, caller_id=asked.caller_id, tenant_id=asked.tenant_id
        )

    @property
    def stopping(self) -> bool:
        """Whether the run must not begin anything new."""
        return self.stop_why is not None or workflow.cancellation_reason() is not None

    @property
    def waiting(self) -> str | None:
        """What a paused run waits for."""
        return "; ".join(self._waits.values()) or None

    def waiting_for(self, key: str, what: str | None) -> None:
        """The run waits for people to do something; None = not any more."""
        if what is None:
            self._waits.pop(key, None)
        else:
            self._waits[key] = what
        if self.stage in {"running", "paused"}:
            self.stage = "paused" if self._waits else "running"
        self.changed()

    def event(self, name: str, summary: str, **content: str | float | None) -> None:
        """Note, for the audit, something that is no step."""
        self.ledger.event(name, summary, self.clock.now(), **content)

    def say(self, text: str, by: str = "", source: str = CALLER) -> None:
        """Put something into the inbox; what nobody will hear is noted."""
        if self.ending is not None:
            self._unheard(text, by, source, TOO_LATE)
        elif self.steer.put(text, by=by, source=source) is None:
            self._unheard(text, by, source, f"{MAX_STEER} messages wait already")

    def empty_inbox(self) -> None:
        """The run has ended: note what its model did not hear any more."""
        for asked in self.early:
            self._unheard(asked.text, asked.by, CALLER, TOO_LATE)
        for steer in self.steer.take():
            self._unheard(steer.text, steer.by, steer.source, TOO_LATE)

    def _unheard(self, text: str, by: str, source: str, why: str) -> None:
        self.event("steer_dropped", text, by=by, source=source, why=why)

    def warn(self, name: str, text: str) -> None:
        """Tell of trouble that does not stop the run: in its result, and as an event."""
        self.warnings.append(clean_line(text, MAX_WARNING))
        self.event(name, text)

    def put(self, files: Sequence[FileRef]) -> None:
        """A tool has put files."""
        new = [ref for ref in dict.fromkeys(files) if ref not in self.files]
        room = MAX_RESULT_FILES - len(self.files)
        self.files += new[:room]
        if len(new) > room and not self._more_files:
            self._more_files = True
            self.warn("files_unlisted", f"more than {MAX_RESULT_FILES} files: the rest is unlisted")

    def begin(self, step_id: str, kind: str, summary: str) -> None:
        """A step is dispatched."""
        self.ledger.begin(step_id, kind, self.iteration, summary, self.changed())

    def end(self, step_id: str, status: StepStatus, summary: str) -> None:
        """A step that called no model has an outcome."""
        self.ledger.finish(step_id, status, self.changed(), summary=summary)

    def brought(self, step_id: str) -> Message | None:
        """What a step brought to the conversation; an empty reply becomes no message."""
        index = self.ledger.messages.get(step_id)
        return None if index is None else self.transcript.messages[index]

    def opening(self) -> AuditOpen:
        """Head of the run's record."""
        return audit_opening(self.key, self.request, self.plan, self.clock.started_at)

    # -- what can be seen ----------------------------------------------------------------------

    @property
    def agent_label(self) -> str:
        """The agent in metrics: its name, where that is the host's and not the caller's."""
        if self.plan is None:
            return NO_AGENT
        return self.plan.agent_name if self.plan.registered else OF_CALLER

    def state(self, steps: int = STATE_STEPS) -> LiveState:
        """The run at this moment, with so many of its newest steps."""
        ending, watched = self.ending, self.plan.watched if self.plan else None
        agent = self.request.agent if self.request else ""
        return LiveState(
            run_id=self.key.run_id,
            agent=agent if isinstance(agent, str) else agent.name,
            stage=self.stage,
            status=ending.status.value if ending else "running",
            reason=ending.reason.value if ending else "",
            iteration=self.iteration,
            max_iterations=self.max_iterations,
            phase=self.phase,
            phase_number=self.progress.index + 1 if self.phase else 0,
            phases_total=len(self.plan.phases) if self.plan else 0,
            started_at=self.clock.started_at,
            deadline_at=self.clock.deadline_at,
            steps=self.ledger.newest(steps),
            steps_total=self.ledger.total,
            usage=self.ledger.usage,
            cost_micro_usd=self.ledger.cost_micro_usd,
            transcript_messages=len(self.transcript),
            waiting=self.waiting,
            questions=tuple(self.questions.pending.values()),
            tokens_limit=self.allowance.tokens if self.allowance else None,
            micro_usd_limit=self.allowance.micro_usd if self.allowance else None,
            files=tuple(self.files),
            warnings=tuple(self.warnings),
            stop=self.stop_why.error if self.stop_why else None,
            active_at=self.active_at,
            critic=watched.kind if watched else "",
            extensions=self.critic.extensions,
        )

    def told(self) -> LiveState:
        """The run at this moment, as an update is answered: few steps, questions cut short.

        That stands in history, and all who decide may do so at once.
        """
        state = self.state(TOLD_STEPS)
        room = TOLD_BYTES // max(1, len(state.questions))
        questions = [
            question.model_copy(update={"arguments": cap_text(question.arguments, room).text})
            for question in state.questions
        ]
        return state.model_copy(update={"questions": tuple(questions)})

    def page(self) -> str:
        """The live page in the Temporal UI; made when somebody looks."""
        return render(self.state(SHOWN_STEPS))

    def changed(self) -> datetime:
        """Something happens in it; answers when (workflow time)."""
        self.active_at = self.clock.now()
        return self.active_at
