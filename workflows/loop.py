"""The agent loop: pure async Python over a small protocol.

The workflow implements `Engine` with activities; tests implement it with fakes and run thousands of
scripted sequences a minute. The loop owns what is said (transcript), what is counted (ledger) and
when to stop; the engine owns how a step is carried out.
"""

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from executus.contracts import ModelStepOutput
from executus.errors import RunError
from executus.estimate import message_tokens, text_tokens
from executus.message import Fold, Message, TextPart, ToolCallPart, ToolResultPart
from executus.plan import RunPlan
from executus.status import Reason, Status
from executus.transcript import Transcript
from executus.workflows.allowance import Allowance
from executus.workflows.answer import best_text, final_answer
from executus.workflows.compaction import RETRY_GROWTH, plan_fold, shrinks, view_tokens
from executus.workflows.ending import Ending
from executus.workflows.guards import Guards
from executus.workflows.ledger import Ledger

RUN_STATUS = "run_status"
"""The built-in tool that is answered from live state; the guards do not count it."""
MAX_REPAIRS = 2
"""Times an answer that misses the output schema goes back to the model."""
ASK_AGAIN = 60.0
"""Seconds after which a budget that said no is asked again, where the policy is to ask."""
EDGES = frozenset({Reason.TOKEN_LIMIT, Reason.COST_LIMIT})
"""Limits of the run itself: one last answer fits below them."""

CUT = "[executus] Your reply was cut by the length limit; none of its tool calls ran. Be brief."
EMPTY = "[executus] Your last reply was empty. Answer, or call a tool."
INVALID = "[executus] The answer does not match the required JSON schema: {why}. Answer again."
NOT_RUN = "not run: the run has reached its limit of {limit} iterations"
TOO_MANY = "not run: more than {limit} tool calls in one turn; ask for fewer at a time"
WRAP_UP = (
    "[executus] The run's spending limit is reached; no more tools will run. Give your best final "
    "answer now from what you have, and say what is missing."
)
CLOSING = (
    "[executus] The limit of {limit} iterations is reached; no more tools will run. Give your best "
    "final answer now from what you have, and say what is missing."
)


class Engine(Protocol):
    """How steps are carried out."""

    def now(self) -> datetime:
        """Current time (UTC), deterministic."""
        ...

    def checkpoint(self) -> None:
        """Raise CancelledError when the run must stop.

        A cancel can be swallowed by a step that completes at the same moment (reliability.md F2),
        so the loop asks at every boundary.
        """
        ...

    def is_full(self) -> bool:
        """Whether the run's history is so long that it should continue as a new execution."""
        ...

    async def model_step(
        self, step_id: str, iteration: int, max_output_tokens: int, *, closing: bool
    ) -> ModelStepOutput:
        """One model turn over the transcript.

        Raises:
            RunError: no target answered, or the budget said no.
        """
        ...

    async def call_tools(
        self, iteration: int, calls: Sequence[ToolCallPart]
    ) -> list[ToolResultPart]:
        """Run the calls, several at a time; results in call order. Failures are results."""
        ...

    async def pause(self, why: str, seconds: float | None) -> None:
        """Wait until somebody raises a limit, or for `seconds`; the deadline still rules."""
        ...

    async def compact(self, step_id: str, fold: Fold) -> Message | None:
        """A summary of the range, or None when none could be had."""
        ...


class AgentLoop:
    """One run's loop. Call `run` once."""

    def __init__(
        self,
        plan: RunPlan,
        transcript: Transcript,
        ledger: Ledger,
        *,
        steer: deque[str],
        engine: Engine,
        allowance: Allowance | None = None,
    ) -> None:
        self.plan = plan
        self.transcript = transcript
        self.ledger = ledger
        self.steer = steer
        self.engine = engine
        self.allowance = allowance or Allowance.of(plan)
        self.iteration = 0
        self.guards = Guards(plan.bounds.tool_errors, plan.bounds.same_tool_calls)
        self.compact_from = 0
        self.folds = 0
        self.blanks = 0
        self.repairs = 0
        self._measured: tuple[int, int] | None = None  # (messages, tokens) the provider counted

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
                if self.engine.is_full():
                    return None
        except RunError as error:
            return self._stopped(error.status, error.reason, str(error))

    async def _iterate(self) -> Ending | None:
        self.engine.checkpoint()
        if self.iteration >= self.allowance.iterations:
            return await self._at_iteration_limit()
        self._deliver_steer()
        await self._compact_if_needed()
        try:
            reply = await self._model_turn()
        except RunError as error:
            if error.reason in EDGES and self.plan.bounds.at_limit == "wrap_up":
                return await self._close_out(error, WRAP_UP)
            raise
        self.engine.checkpoint()
        return await self._follow(reply)

    async def _follow(self, reply: ModelStepOutput) -> Ending | None:
        """Do what a reply asks for."""
        calls = reply.message.tool_calls
        if reply.stop == "refusal":
            return self._refused(reply)
        if reply.stop == "length":
            return self._cut(reply)
        if not calls:
            return self._answered(reply)
        self._say(reply.message)
        if self.iteration >= self.allowance.iterations:
            self._answer_unrun(calls, NOT_RUN.format(limit=self.allowance.iterations))
            return await self._at_iteration_limit()
        return await self._tool_turn(calls)

    # -- model turns ---------------------------------------------------------------------------

    async def _model_turn(self, *, closing: bool = False) -> ModelStepOutput:
        """One reply. Where the policy at a limit is to ask, it waits here for an answer."""
        room = await self._room(closing=closing)
        self.iteration += 0 if closing else 1
        step_id = f"m{self.iteration}.closing" if closing else f"m{self.iteration}"
        tries = 1
        while True:
            sent = len(self.transcript)
            try:
                reply = await self.engine.model_step(step_id, self.iteration, room, closing=closing)
            except RunError as error:
                if closing or not await self._cured(error, tries):
                    raise
                tries += 1
                step_id = f"m{self.iteration}.{tries}"
                continue
            if reply.usage.input_tokens:
                self._measured = (sent, reply.usage.input_tokens)
            return reply

    async def _cured(self, error: RunError, tries: int) -> bool:
        """Whether the same turn is worth another step."""
        if error.reason is Reason.TOO_LARGE:
            return tries == 1 and await self._fold(forced=True)
        if error.reason is Reason.BUDGET_REJECTED and self.plan.bounds.at_limit == "ask":
            await self.engine.pause(str(error), ASK_AGAIN)
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
            try:
                return self.allowance.room(used, spent, self.input_tokens(), keep=keep)
            except RunError as error:
                self.ledger.event("limit", str(error), self.engine.now())
                if closing or policy != "ask":
                    raise
                await self.engine.pause(str(error), None)
                self.engine.checkpoint()

    def input_tokens(self) -> int:
        """Tokens the next call would send: as the provider last counted, plus what is new."""
        if self._measured is not None:
            count, tokens = self._measured
            return tokens + sum(message_tokens(m) for m in self.transcript.messages[count:])
        fixed = text_tokens(self.plan.system_prompt) + sum(
            text_tokens(tool.description) + text_tokens(str(tool.parameters))
            for tool in self.plan.tools
        )
        return fixed + view_tokens(self.transcript.messages)

    # -- what a reply leads to -----------------------------------------------------------------

    def _answered(self, reply: ModelStepOutput) -> Ending | None:
        text = reply.message.text
        output = final_answer(text, self.transcript.messages)
        if not output.strip():
            return self._blank(EMPTY, "the model returned an empty reply twice")
        self._say(reply.message)
        self.blanks = 0
        if reply.invalid is not None:
            return self._invalid(reply.invalid)
        if self.steer and self.iteration < self.allowance.iterations:
            return None  # somebody spoke while the model answered: let it hear them
        return Ending(Status.OK, Reason.ANSWER, output, reply.structured)

    def _invalid(self, why: str) -> Ending | None:
        self.repairs += 1
        if self.repairs > MAX_REPAIRS or self.iteration >= self.allowance.iterations:
            message = f"the answer does not match the output schema: {why}"
            return self._stopped(Status.ERROR, Reason.INVALID_OUTPUT, message)
        self.nudge(INVALID.format(why=why))
        return None

    def _cut(self, reply: ModelStepOutput) -> Ending | None:
        """A reply cut by length: a cut text is no answer, and no call of it may run."""
        text = reply.message.text
        self._say(Message(role="assistant", parts=(TextPart(text=text or "[cut]"),)))
        if not reply.message.tool_calls and text:
            message = "the answer was cut by the limit of output tokens"
            return Ending(Status.ERROR, Reason.MODEL_INCOMPLETE, text, error=message)
        return self._blank(CUT, "the model's tool calls were cut by the limit of output tokens")

    def _blank(self, nudge: str, why: str) -> Ending | None:
        self.blanks += 1
        if self.blanks > 1 or self.iteration >= self.allowance.iterations:
            return self._stopped(Status.ERROR, Reason.MODEL_INCOMPLETE, why)
        self.nudge(nudge)
        return None

    def _refused(self, reply: ModelStepOutput) -> Ending:
        text = reply.message.text
        self._say(Message(role="assistant", parts=(TextPart(text=text or "[refused]"),)))
        detail = f": {text[:200]}" if text else ""
        return Ending(
            Status.ERROR,
            Reason.MODEL_REFUSED,
            text or best_text(self.transcript.messages[:-1]),
            error=f"the model refused{detail}",
        )

    # -- tools ---------------------------------------------------------------------------------

    async def _tool_turn(self, calls: Sequence[ToolCallPart]) -> Ending | None:
        limit = self.plan.bounds.tool_calls
        kept, extra = calls[:limit], calls[limit:]
        results = await self.engine.call_tools(self.iteration, kept)
        for result in results:
            self._say(Message(role="tool", parts=(result,)))
        self._answer_unrun(extra, TOO_MANY.format(limit=limit))
        pairs = [(c, r) for c, r in zip(kept, results, strict=True) if c.name != RUN_STATUS]
        verdict = self.guards.after_step([c for c, _ in pairs], [r for _, r in pairs])
        if verdict.stop is not None:
            self.ledger.event("guard", verdict.why, self.engine.now(), reason=verdict.stop.value)
            return self._stopped(Status.ERROR, verdict.stop, verdict.why)
        if verdict.nudge is not None:
            self.nudge(verdict.nudge)
        return None

    def _answer_unrun(self, calls: Sequence[ToolCallPart], text: str) -> None:
        """Every call is answered exactly once, also those that do not run."""
        for call in calls:
            part = ToolResultPart(call_id=call.id, name=call.name, text=text, outcome="error")
            self._say(Message(role="tool", parts=(part,)))

    async def _at_iteration_limit(self) -> Ending:
        limit = self.allowance.iterations
        message = f"stopped after {limit} iterations without an answer"
        cause = RunError(Status.ERROR, Reason.MAX_ITERATIONS, message)
        return await self._close_out(cause, CLOSING.format(limit=limit))

    async def _close_out(self, cause: RunError, ask: str) -> Ending:
        """The tool-less closing answer; whatever comes of it, the reason stays."""
        self.nudge(ask)
        try:
            reply = await self._model_turn(closing=True)
        except RunError as error:
            message = f"{cause}; the closing answer failed: {error}"
            return self._stopped(cause.status, cause.reason, message)
        text = final_answer(reply.message.text, self.transcript.messages)
        if reply.message.text:
            self._say(Message(role="assistant", parts=(TextPart(text=reply.message.text),)))
        return Ending(cause.status, cause.reason, text, reply.structured, str(cause))

    # -- compaction ----------------------------------------------------------------------------

    async def _compact_if_needed(self) -> None:
        ratio = self.plan.bounds.compaction_ratio
        if not ratio or not self.plan.targets:
            return
        window = min(target.context_window for target in self.plan.targets)
        tokens = self.input_tokens()
        if tokens > int(window * ratio) and tokens >= self.compact_from:
            await self._fold(forced=False)

    async def _fold(self, *, forced: bool) -> bool:
        """Fold old messages into a summary. On any failure the originals are sent."""
        if not self.plan.bounds.compaction_ratio:
            return False
        before = self.input_tokens()
        window = min(target.context_window for target in self.plan.targets)
        threshold = int(window * self.plan.bounds.compaction_ratio)
        fold = plan_fold(self.transcript.messages, before if forced else threshold)
        if fold is None:
            return False
        self.folds += 1
        summary = await self.engine.compact(f"c{self.folds}", fold)
        self.engine.checkpoint()
        if summary is None or not shrinks(self.transcript.messages, fold, summary):
            self.compact_from = int(before * RETRY_GROWTH)
            self.ledger.event(
                "compaction_failed",
                "no summary" if summary is None else "the summary would not shrink it",
                self.engine.now(),
                tokens=before,
            )
            return False
        self._say(summary)
        self._measured = None
        after = self.input_tokens()
        text = f"messages {fold.start}-{fold.end - 1}: about {before} -> {after} tokens"
        self.ledger.event("compaction_fired", text, self.engine.now(), before=before, after=after)
        return True

    # -- small things --------------------------------------------------------------------------

    def nudge(self, text: str) -> None:
        """Append a message of ours: appended, never edited in, so the prompt cache stays warm."""
        self.ledger.event("nudge", text, self.engine.now())
        self._say(Message.user(text))

    def _deliver_steer(self) -> None:
        while self.steer:
            text = self.steer.popleft()
            self.ledger.event("steer", text, self.engine.now())
            self._say(Message.user(text))

    def _say(self, message: Message) -> None:
        self.transcript.append(message)

    def _stopped(self, status: Status, reason: Reason, error: str) -> Ending:
        return Ending(status, reason, best_text(self.transcript.messages), error=error)
