"""`executus.critic`: look at a silent run, and have its critic decide.

Whatever goes wrong in here changes nothing: the run goes on, and its deadline rules.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.client import WorkflowHandle

from executus.activities.calls import ModelCalls, quietly
from executus.activities.conversation import Conversations
from executus.activities.heartbeat import beating
from executus.activities.host import Host
from executus.activities.judge import SCHEMA, NoDecision, decided, judge_request
from executus.activities.pulse import Pulse, feel_pulse
from executus.activities.records import Records
from executus.contracts import CRITIC, QUERY_STATE, QUERY_TRANSCRIPT
from executus.critic import JUDGE, MAX_SECONDS, MAX_STEPS, WATCHDOG, CriticPlan, must_ask
from executus.critic_look import CriticLook, CriticSeen
from executus.critic_view import CriticDecision, CriticView, Watchdog
from executus.errors import ConfigError, ExecutusError
from executus.models.provider import ModelRequest
from executus.plan import ModelTarget, RunPlan
from executus.ports import Critic
from executus.rows import critic_row
from executus.sanitize import cap_text, clean_line
from executus.state import LiveState
from executus.steer import MAX_STEER_BYTES
from executus.transcript import TranscriptPage

DECIDE_SECONDS = 60.0
"""Seconds a host's critic may take."""
QUERY_TIMEOUT = timedelta(seconds=15)
SHOWN_STEPS = 20
"""Newest steps that a critic is shown."""
TASK_BYTES, LATEST_BYTES = 4_000, 2_000
"""Bytes of the task, and of what the model last said, that it is shown."""
LATEST_MESSAGES = 8
"""Newest messages searched for what the model last said."""
MAX_WHY = 500
"""Characters of a reason."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a look found."""

    look: CriticLook
    """What was asked for."""
    plan: RunPlan
    """The run's plan."""
    critic: CriticPlan
    """Its critic."""
    pulse: Pulse
    """What goes on outside of history."""
    state: LiveState
    """What the run says of itself."""

    @property
    def active_at(self) -> datetime:
        """Last sign of life; the run may have gone on since the look was sent."""
        signs = (self.look.active_at, self.pulse.active_at, self.state.active_at)
        return max(sign for sign in signs if sign is not None)

    @property
    def must_ask(self) -> bool:
        """Whether the critic is to decide."""
        look, idle = self.look, self.critic.idle_seconds
        ask = must_ask(look.cause, look.at, self.active_at, look.judged_at, idle)
        return ask and self.state.stage == "running"

    def view(self, task: str, latest: str) -> CriticView:
        """What the critic is shown."""
        look, critic, state = self.look, self.critic, self.state
        return CriticView(
            kind=critic.kind,
            cause=look.cause,
            agent_id=self.plan.agent_id,
            caller_id=look.caller_id,
            tenant_id=look.tenant_id,
            task=task,
            latest=latest,
            state=state.model_copy(update={"steps": state.steps[-SHOWN_STEPS:]}),
            work=tuple(self.pulse.work),
            idle_seconds=max(0.0, (look.at - self.active_at).total_seconds()),
            seconds_left=look.seconds_left,
            extensions_left=look.extensions_left,
            extend_seconds=look.extend_seconds,
            raise_steps=0 if self.plan.phases else critic.raise_steps,
        )


class CriticActivity:
    """One look at one run."""

    def __init__(self, host: Host, conversations: Conversations, records: Records) -> None:
        self._host = host
        self._conversations = conversations
        self._records = records

    @activity.defn(name=CRITIC)
    async def critic(self, look: CriticLook) -> CriticSeen:
        """Signs of life first; only where there are none, a decision."""
        calls = ModelCalls(
            self._host, self._records, look.key, step_id=look.step_id, left=look.seconds_left
        )
        async with beating(calls.details):
            return await self._look(look, calls)

    async def _look(self, look: CriticLook, calls: ModelCalls) -> CriticSeen:
        begun = time.monotonic()
        plan = await self._conversations.plan(look.plan_digest)
        if plan.critic is None:  # pragma: no cover - the workflow asks only where there is one
            raise ExecutusError("the run has no critic")
        pulse = await feel_pulse(look.key.run_id, look.at, self._host.redactor)
        handle = activity.client().get_workflow_handle(look.key.run_id)
        state = await handle.query(QUERY_STATE, result_type=LiveState, rpc_timeout=QUERY_TIMEOUT)
        scene = Scene(look, plan, plan.critic, pulse, state)
        seen = CriticSeen(active_at=scene.active_at, attempt=activity.info().attempt)
        if not scene.must_ask:
            return seen
        view = scene.view(*await self._texts(handle, state.transcript_messages))
        seen = await self._decide(seen, view, plan, calls)
        await self._record(look, plan, seen, time.monotonic() - begun)
        return seen

    async def _texts(self, handle: WorkflowHandle[Any, Any], total: int) -> tuple[str, str]:
        """The task, and what the model last said; capped and redacted."""
        first = await self._messages(handle, 0)
        newest = first if len(first.messages) >= total else None
        newest = newest or await self._messages(handle, max(0, total - LATEST_MESSAGES))
        said = (m.text for m in reversed(newest.messages) if m.role == "assistant" and m.text)
        task = first.messages[0].text if first.messages else ""
        hide = self._host.redactor.text
        return (
            cap_text(hide(task), TASK_BYTES).text,
            cap_text(hide(next(said, "")), LATEST_BYTES).text,
        )

    @staticmethod
    async def _messages(handle: WorkflowHandle[Any, Any], start: int) -> TranscriptPage:
        page: TranscriptPage = await handle.query(
            QUERY_TRANSCRIPT, start, result_type=TranscriptPage, rpc_timeout=QUERY_TIMEOUT
        )
        return page

    # -- the decision --------------------------------------------------------------------------

    async def _decide(
        self, seen: CriticSeen, view: CriticView, plan: RunPlan, calls: ModelCalls
    ) -> CriticSeen:
        if view.kind == JUDGE:
            return await self._judge(seen, view, plan, calls)
        try:
            async with asyncio.timeout(DECIDE_SECONDS):
                decision = await self._critic(view.kind).decide(view)
            return seen.model_copy(update={"decision": tidy(decision)})
        except TimeoutError:
            failed = f"the critic took longer than {DECIDE_SECONDS:g} s"
        except Exception as error:  # noqa: BLE001 - the host's code: whatever it raises
            failed = self._line(f"{type(error).__name__}: {error}")
        return seen.model_copy(update={"failed": failed})

    def _critic(self, kind: str) -> Critic:
        if kind == WATCHDOG:
            return Watchdog()
        critic = self._host.ports.critic
        if critic is None:
            raise ConfigError(f"this worker has no critic `{kind}`")
        return critic

    async def _judge(
        self, seen: CriticSeen, view: CriticView, plan: RunPlan, calls: ModelCalls
    ) -> CriticSeen:
        """Ask the model; an answer that is none was paid for all the same."""

        def build(target: ModelTarget) -> ModelRequest:
            native = self._host.models.takes_schema(target, SCHEMA)
            seconds, run_id = calls.seconds_left, view.state.run_id
            return judge_request(view, target, seconds, run_id, native=native)

        answer = await calls.ask(plan, plan.critic_targets or plan.targets, build)
        usage = answer.reply.usage
        paid: dict[str, object] = {
            "usage": usage,
            "cost_micro_usd": self._host.models.cost(answer.target.spec, usage),
            "spec": answer.target.spec,
            "failovers": tuple(answer.failovers),
        }
        try:
            decision = tidy(decided(answer.reply.message.text, view))
        except NoDecision as error:
            return seen.model_copy(update={**paid, "failed": self._line(str(error))})
        return seen.model_copy(update={**paid, "decision": decision})

    def _line(self, text: str) -> str:
        return clean_line(self._host.redactor.text(text), MAX_WHY)

    async def _record(
        self, look: CriticLook, plan: RunPlan, seen: CriticSeen, seconds: float
    ) -> None:
        audit = self._host.ports.audit
        if audit is None or "audit" not in plan.wired:
            return
        row = critic_row(look.step_id, seen, datetime.now(UTC), seconds)
        await quietly(self._records.record(look.key, row), "audit record")


def tidy(decision: object) -> CriticDecision:
    """A critic's decision, safe to store: cleaned texts, numbers that saturate.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(decision, CriticDecision):
        msg = f"a critic decides with a CriticDecision, not with a {type(decision).__name__}"
        raise TypeError(msg)
    kill = decision.kill
    return CriticDecision(
        nudge=cap_text(decision.nudge, MAX_STEER_BYTES).text,
        extend=min(decision.extend, MAX_SECONDS),
        raise_steps=min(decision.raise_steps, MAX_STEPS),
        kill=None if kill is None else clean_line(kill, MAX_WHY) or "no reason given",
        why=clean_line(decision.why, MAX_WHY),
    )
