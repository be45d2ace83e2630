"""The agent loop: pure async Python over a small protocol.

The workflow implements `Engine` with activities; tests implement it with fakes and run thousands of
scripted sequences a minute. The loop owns what is said (transcript), what is counted (ledger) and
when to stop; the engine owns how a step is carried out.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from executus.contracts import ModelStepOutput
from executus.errors import RunError
from executus.fork_end import CLOSING, NOT_RUN, WRAP_UP
from executus.message import Message, TextPart, ToolCallPart, ToolResultPart
from executus.plan import RunPlan
from executus.status import Reason, Status
from executus.steer import SteerReceipt
from executus.transcript import Transcript
from executus.workflows.allowance import NO_STAKE, Allowance
from executus.workflows.answer import best_text, final_answer
from executus.workflows.dialogue import Dialogue
from executus.workflows.ending import Ending
from executus.workflows.folding import Folding
from executus.workflows.guards import Guards
from executus.workflows.inbox import Inbox
from executus.workflows.ledger import Ledger
from executus.workflows.loop_engine import Engine
from executus.workflows.replies import Replies, value_of
from executus.workflows.submissions import Submissions, handed_in

RUN_STATUS = "run_status"
"""The built-in tool that is answered from live state; the guards do not count it."""
ASK_AGAIN, ASK_AGAIN_MOST = 60.0, 900.0
"""Seconds after which a budget that said no is asked again, where the policy is to ask: doubling,
since each asking is a step of twelve events, and a run may wait for days."""
EDGES = frozenset({Reason.TOKEN_LIMIT, Reason.COST_LIMIT})
"""Limits of the run itself: one last answer fits below them."""

TOO_MANY = "not run: more than {limit} tool calls in one turn; ask for fewer at a time"
BARE = "the one call of a bare phase asked for tools"


@dataclass(frozen=True, slots=True)
class Stretch:
    """The part of a run that one loop works on: all of it, unless the agent has phases."""

    began: int = 0
    """Model turns before it; the limit on iterations is its own."""
    since: int = 0
    """Messages before it."""
    bare: bool = False
    """One single call: no closing answer follows."""
    keep_opening: bool = False
    """The opening message is needed later, so it is never folded."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reply asks for."""

    calls: tuple[ToolCallPart, ...]
    handed: Submissions
    last: bool
    """Nothing follows: it handed in the run's answer, or no turn is left."""


class AgentLoop:
    """One loop. Call `run` once."""

    def __init__(
        self,
        plan: RunPlan,
        transcript: Transcript,
        ledger: Ledger,
        *,
        steer: Inbox,
        engine: Engine,
        allowance: Allowance | None = None,
        stretch: Stretch = Stretch(),
    ) -> None:
        self.stretch = stretch
        self.plan = plan
        self.ledger = ledger
        self.steer = steer
        self.engine = engine
        self.allowance = allowance or Allowance.of(plan)
        self.iteration = stretch.began
        self.guards = Guards(plan.bounds.tool_errors, plan.bounds.same_tool_calls)
        self.dialogue = Dialogue(plan, transcript, ledger, engine.now, stretch.since)
        self.replies = Replies(self.dialogue, plan.bounds.output_repairs)
        self.folding = Folding(
            plan,
            self.dialogue,
            ledger,
            engine,
            self.allowance,
            keep_opening=stretch.keep_opening,
        )

    async def run(self) -> Ending | None:
        """Loop until there is an ending, or the history is full: then the answer is None.

        Between two iterations no step is under way and every call is answered, so that is where a
        run can go on in another execution. Only a cancel passes through as an exception.
        """
        try:
            while True:
                ending = await self._iterate()
                if ending is not None:
                    return ending
                await self.engine.save()
                if self.engine.is_full():
                    return None
        except RunError as error:
            return self.dialogue.stopped(error.status, error.reason, str(error))

    @property
    def is_last(self) -> bool:
        """Whether no further turn is allowed."""
        return self.iteration - self.stretch.began >= self.allowance.iterations

    async def _iterate(self) -> Ending | None:
        self.engine.checkpoint()
        if self.is_last:
            return await self._at_iteration_limit()
        self.deliver_steer()
        await self.folding.if_needed()
        try:
            heard = self._heard(await self._model_turn())
        except RunError as error:
            if error.reason in EDGES and self.plan.bounds.at_limit == "wrap_up":
                return await self._close_out(error, WRAP_UP)
            raise
        if not isinstance(heard, Asked):
            return heard
        turn = self._last_calls if heard.last else self._tool_turn
        return await turn(heard.calls, heard.handed)

    @property
    def _closing(self) -> str:
        """What the step of a closing answer is called after its turn.

        A phase whose very first turn meets a limit closes at the number of the phase before it,
        which may have closed there, too. No third one does: that limit is the whole run's.
        """
        again = self.iteration and self.iteration == self.stretch.began
        return ".closing.2" if again else ".closing"

    def _heard(self, reply: ModelStepOutput) -> Asked | Ending | None:
        """What a reply comes to. Nobody holds the reply itself while its calls run."""
        self._stop_after(reply.message.text)
        if reply.stop == "refusal":
            return self.replies.refused(reply)
        if reply.stop == "length":
            return self.replies.cut(reply, last=self.is_last)
        calls = reply.message.tool_calls
        if not calls:
            return self._answered(reply)
        self.dialogue.reply(reply.message)
        self.replies.blanks = 0
        handed = handed_in(reply, self.plan.output_schema, set_aside=self._is_spoken_to)
        last = self.is_last or handed.ending is not None
        return Asked(calls, handed, last)

    def _stop_after(self, said: str) -> None:
        """Where the run must stop, what the model just said is still its newest word."""
        try:
            self.engine.checkpoint()
        except asyncio.CancelledError:
            if said:
                self.dialogue.reply(Message(role="assistant", parts=(TextPart(text=said),)))
            raise

    async def _last_calls(
        self, calls: Sequence[ToolCallPart], handed: Submissions
    ) -> Ending | None:
        """Calls that no further turn follows."""
        if handed.ending is not None:
            await self._call(calls, handed.answers)
            return handed.ending
        unrun = _unrun(calls, NOT_RUN.format(limit=self.allowance.iterations))
        if handed.why is not None:
            await self._call(calls, {**unrun, **handed.answers})
            return self.replies.rejected(handed.why, handed.text, last=True)
        for part in unrun.values():
            self.dialogue.answer(part)
        return await self._at_iteration_limit()

    @property
    def _is_spoken_to(self) -> bool:
        """Whether somebody spoke while the model answered, and it can still hear them."""
        return bool(self.steer) and not self.is_last

    def _answered(self, reply: ModelStepOutput) -> Ending | None:
        ending = self.replies.answered(reply, last=self.is_last)
        if ending is not None and ending.status is Status.OK and self._is_spoken_to:
            return None
        return ending

    # -- model turns ---------------------------------------------------------------------------

    async def _model_turn(self, *, closing: bool = False) -> ModelStepOutput:
        """One reply. Where the policy at a limit is to ask, it waits here for an answer."""
        room = await self._room(closing=closing)
        self.iteration += 0 if closing else 1
        step_id = f"m{self.iteration}{self._closing if closing else ''}"
        tries = 1
        while True:
            sent = len(self.dialogue)
            try:
                reply = await self.engine.model_step(step_id, self.iteration, room, closing=closing)
            except RunError as error:
                failed = error
            else:
                self.dialogue.turn = step_id
                if reply.usage.input_tokens:
                    self.dialogue.counted(sent, reply.usage.input_tokens)
                return reply
            finally:
                self.allowance.steps = NO_STAKE
            if closing or not await self._cured(failed, tries):
                raise failed
            tries += 1
            step_id = f"m{self.iteration}.{tries}"
            room = await self._room(closing=closing)  # a summary may have been paid for

    async def _cured(self, error: RunError, tries: int) -> bool:
        """Whether the same turn is worth another step."""
        if error.reason is Reason.TOO_LARGE:
            return tries == 1 and await self.folding.fold(forced=True)
        if error.reason is Reason.BUDGET_REJECTED and self.plan.bounds.at_limit == "ask":
            seconds = min(ASK_AGAIN * 2 ** min(tries - 1, 10), ASK_AGAIN_MOST)
            await self.engine.pause(str(error), seconds)
            self.engine.checkpoint()
            return True
        return False

    async def _room(self, *, closing: bool) -> int:
        """Tokens the next reply may have.

        Raises:
            RunError: the limit is reached, and the policy there is to stop or to wrap up.
        """
        policy = self.plan.bounds.at_limit
        while True:
            if self.allowance.unlimited:
                return self.plan.bounds.max_output_tokens
            used, spent = self.ledger.usage.total_tokens, self.ledger.cost_micro_usd
            keep = policy == "wrap_up" and not closing
            tokens_in = self.dialogue.input_tokens()
            try:
                room = self.allowance.room(used, spent, tokens_in, keep=keep)
            except RunError as error:
                if self.allowance.look is not None:  # what a judge takes is known in a moment
                    await self.allowance.look.wait()
                    self.engine.checkpoint()
                    continue
                self.ledger.event("limit", str(error), self.engine.now())
                if closing or policy != "ask":
                    raise
                await self.engine.pause(str(error), None)
                self.engine.checkpoint()
                continue
            self.allowance.steps = self.allowance.worst(tokens_in, room)
            return room

    # -- tools ---------------------------------------------------------------------------------

    async def _tool_turn(self, calls: Sequence[ToolCallPart], handed: Submissions) -> Ending | None:
        limit = self.plan.bounds.tool_calls
        kept, extra = calls[:limit], calls[limit:]
        try:
            results = await self._call(kept, handed.answers)
        finally:  # also when the run is stopped meanwhile: no call is left without its answer
            for call_id, part in _unrun(extra, TOO_MANY.format(limit=limit)).items():
                self.dialogue.answer(handed.answers.get(call_id, part))
        for message in self.engine.attached():
            self.dialogue.say(message)
        pairs = [
            (c, r)
            for c, r in zip(kept, results, strict=True)
            if c.name != RUN_STATUS and c.id not in handed.answers
        ]
        verdict = self.guards.after_step([c for c, _ in pairs], [r for _, r in pairs])
        if verdict.stop is not None:
            self.ledger.event("guard", verdict.why, self.engine.now(), reason=verdict.stop.value)
            return self.dialogue.stopped(Status.ERROR, verdict.stop, verdict.why)
        if verdict.nudge is not None:
            self.dialogue.nudge(verdict.nudge)
        if handed.why is not None:
            return self.replies.rejected(handed.why, handed.text, last=False)
        return None

    async def _call(
        self, calls: Sequence[ToolCallPart], answers: Mapping[str, ToolResultPart]
    ) -> list[ToolResultPart]:
        """Run the calls that have no answer yet, and put all answers into the conversation."""
        results = await self.engine.call_tools(self.iteration, calls, answers)
        for result in results:
            self.dialogue.answer(result)
        return results

    async def _at_iteration_limit(self) -> Ending:
        if self.stretch.bare:
            return self.dialogue.stopped(Status.ERROR, Reason.MAX_ITERATIONS, BARE)
        limit = self.allowance.iterations
        message = f"stopped after {limit} iterations without an answer"
        cause = RunError(Status.ERROR, Reason.MAX_ITERATIONS, message)
        self.deliver_steer(turn=self.iteration)
        return await self._close_out(cause, CLOSING.format(limit=limit))

    async def _close_out(self, cause: RunError, ask: str) -> Ending:
        """The tool-less closing answer; whatever comes of it, the reason stays."""
        self.dialogue.nudge(ask)
        try:
            reply = await self._model_turn(closing=True)
        except RunError as error:
            message = f"{cause}; the closing answer failed: {error}"
            return self.dialogue.stopped(cause.status, cause.reason, message)
        handed = handed_in(reply, self.plan.output_schema).ending
        said = handed.output if handed else reply.message.text
        value = handed.structured if handed else value_of(reply)
        if handed or reply.valid:
            text = said
        else:
            text = final_answer(said, self.dialogue.own) or best_text(self.dialogue.own)
        if said:
            self.dialogue.reply(Message(role="assistant", parts=(TextPart(text=said),)))
        return Ending(cause.status, cause.reason, text, value, str(cause))

    def deliver_steer(self, turn: int | None = None) -> None:
        """Put what waits in the inbox before the next model call; each message once.

        `turn`: the one that hears it; None = the next. A closing answer belongs to the last one.
        """
        if not self.steer:
            return
        now, turn = self.engine.now(), self.iteration + 1 if turn is None else turn
        for steer in self.steer.take():
            self.dialogue.tell(steer.text, "steer", by=steer.by, source=steer.source)
            steer.receipt = SteerReceipt(delivered=True, iteration=turn, at=now)


def _unrun(calls: Sequence[ToolCallPart], text: str) -> dict[str, ToolResultPart]:
    """Every call is answered exactly once, also those that do not run; by call id."""
    return {
        call.id: ToolResultPart(call_id=call.id, name=call.name, text=text, outcome="error")
        for call in calls
    }
