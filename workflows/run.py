"""Run: everything that one run is while it lives in the workflow.

The pieces that work on it (driver, body, controls, engine, tool calls, cleanup) hold no state of
their own that outlives a step, so what is here is what a person sees and what is handed over.
"""

import asyncio
from collections import deque

from temporalio import workflow

from executus.audit import AuditOpen
from executus.contracts import RunKey
from executus.invocation import Invocation
from executus.limits import Defaults
from executus.plan import Port, RunPlan
from executus.request import RunRequest
from executus.state import STATE_STEPS, LiveState, Stage
from executus.transcript import Transcript
from executus.workflows.allowance import Allowance
from executus.workflows.clock import Clock
from executus.workflows.details import SHOWN_STEPS, render
from executus.workflows.ending import Ending
from executus.workflows.ledger import Ledger
from executus.workflows.prepare import audit_opening


class Run:
    """State of one run. Signals may come before the first task, so all of it is there from then."""

    def __init__(self, key: RunKey) -> None:
        self.key = key
        self.transcript = Transcript()
        self.ledger = Ledger()
        self.steer: deque[str] = deque()
        """What waits to be said to the agent."""
        self.stage: Stage = "starting"
        self.request: RunRequest | None = None
        self.plan: RunPlan | None = None
        self.wired: tuple[Port, ...] | None = None
        """None until resolve has told."""
        self.reserved = False
        """Whether a budget reservation may be held."""
        self.allowance: Allowance | None = None
        self.waiting: str | None = None
        """What a paused run waits for."""
        self.iteration = 0
        """Model turns so far, in all executions."""
        self.depth_left = 0
        """Levels of child runs that may be added below this one."""
        self.descendants = 0
        """Child runs so far, all levels together."""
        self.descendants_left = 0
        """Child runs that may still be started."""
        self.stop_why: Ending | None = None
        """Why it was asked to stop, if it was."""
        self.ending: Ending | None = None
        """The outcome, once it is fixed."""
        self.clock = Clock(workflow.now())
        self.active_at = workflow.now()
        """When something last happened in it (workflow time)."""
        self._dirty = False

    @property
    def bounds(self) -> Defaults:
        """The run's bounds, or the defaults before there is a plan."""
        return self.plan.bounds if self.plan else Defaults()

    @property
    def max_iterations(self) -> int:
        """The limit as it is now; 0 until there is a plan."""
        return self.allowance.iterations if self.allowance else 0

    @property
    def invocation(self) -> Invocation:
        """Who asks; nobody before the request is decoded."""
        return self.request.invocation if self.request else Invocation()

    @property
    def stopping(self) -> bool:
        """Whether the run must not begin anything new."""
        return self.stop_why is not None or workflow.cancellation_reason() is not None

    def event(self, name: str, summary: str, **content: str | float | None) -> None:
        """Note, for the audit, something that is no step."""
        self.ledger.event(name, summary, workflow.now(), **content)

    def opening(self) -> AuditOpen:
        """Head of the run's record."""
        return audit_opening(self.key, self.request, self.plan, self.clock.started_at)

    # -- what can be seen ----------------------------------------------------------------------

    def state(self, steps: int = STATE_STEPS) -> LiveState:
        """The run at this moment, with so many of its newest steps."""
        ending = self.ending
        agent = self.request.agent if self.request else ""
        return LiveState(
            run_id=self.key.run_id,
            agent=agent if isinstance(agent, str) else agent.name,
            stage=self.stage,
            status=ending.status.value if ending else "running",
            reason=ending.reason.value if ending else "",
            iteration=self.iteration,
            max_iterations=self.max_iterations,
            started_at=self.clock.started_at,
            deadline_at=self.clock.deadline_at,
            steps=self.ledger.newest(steps),
            steps_total=self.ledger.total,
            usage=self.ledger.usage,
            cost_micro_usd=self.ledger.cost_micro_usd,
            transcript_messages=len(self.transcript),
            waiting=self.waiting,
            tokens_limit=self.allowance.tokens if self.allowance else None,
            micro_usd_limit=self.allowance.micro_usd if self.allowance else None,
            stop=self.stop_why.error if self.stop_why else None,
        )

    def changed(self) -> None:
        """Refresh the live page in the Temporal UI, once per workflow task; costs no history."""
        self.active_at = workflow.now()
        if not self._dirty:
            self._dirty = True
            asyncio.get_running_loop().call_soon(self._refresh)

    def _refresh(self) -> None:
        self._dirty = False
        workflow.set_current_details(render(self.state(SHOWN_STEPS)))
