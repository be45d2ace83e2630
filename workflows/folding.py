"""Folding: old messages give way to a summary when the context window fills."""

from collections.abc import Sequence

from executus.errors import RunError
from executus.message import Fold, Message
from executus.plan import RunPlan
from executus.transcript import SUMMARY_TOKENS
from executus.workflows.allowance import NO_STAKE, Allowance
from executus.workflows.compaction import RETRY_GROWTH, plan_fold, shrinks, summary_input
from executus.workflows.dialogue import Dialogue
from executus.workflows.ledger import Ledger
from executus.workflows.loop_engine import Engine


class Folding:
    """When a loop folds. On any failure the originals are sent."""

    def __init__(
        self,
        plan: RunPlan,
        dialogue: Dialogue,
        ledger: Ledger,
        engine: Engine,
        allowance: Allowance,
        *,
        keep_opening: bool = False,
    ) -> None:
        self._keep_opening = keep_opening
        self._plan = plan
        self._dialogue = dialogue
        self._ledger = ledger
        self._engine = engine
        self._allowance = allowance
        self.retry_from = 0
        """Tokens from which on it is tried again, after a failure."""
        self.count = 0
        """Folds tried so far."""

    async def if_needed(self) -> None:
        """Fold when the next call would pass the threshold."""
        ratio = self._plan.bounds.compaction_ratio
        if not ratio or not self._plan.targets:
            return
        tokens = self._dialogue.input_tokens()
        if tokens > self._threshold() and tokens >= self.retry_from:
            await self.fold(forced=False)

    async def fold(self, *, forced: bool) -> bool:
        """Fold; `forced`: a model has refused the conversation as too large. Whether it helped.

        Raises:
            RunError: a forced one, for which the run's own limits leave nothing.
        """
        if not self._plan.bounds.compaction_ratio:
            return False
        before = self._dialogue.input_tokens()
        messages = self._dialogue.messages
        threshold = before if forced else self._threshold()
        fold = plan_fold(messages, threshold, keep_opening=self._keep_opening)
        if fold is None:
            return False
        try:
            room = self._room(messages, fold)
        except RunError as error:
            self._failed(f"no summary: {error}", before)
            if forced:
                raise
            return False
        summary = await self._summary(fold, room)
        empty = summary is None or not summary.text.strip()
        if summary is None or empty or not shrinks(messages, fold, summary):
            self._failed("no summary" if empty else "the summary would not shrink it", before)
            return False
        self._dialogue.say(summary, f"c{self.count}")
        self._dialogue.recount()
        after = self._dialogue.input_tokens()
        text = f"messages {fold.start}-{fold.end - 1}: about {before} -> {after} tokens"
        now = self._engine.now()
        self._ledger.event("compaction_fired", text, now, before=before, after=after)
        return True

    async def _summary(self, fold: Fold, room: int | None) -> Message | None:
        self.count += 1
        try:
            summary = await self._engine.compact(f"c{self.count}", fold, room)
        finally:
            self._allowance.steps = NO_STAKE
        self._engine.checkpoint()
        return summary

    def _failed(self, why: str, before: int) -> None:
        self.retry_from = int(before * RETRY_GROWTH)
        self._ledger.event("compaction_failed", why, self._engine.now(), tokens=before)

    def _room(self, messages: Sequence[Message], fold: Fold) -> int | None:
        """Tokens that the summary may have; None: as many as any. From here on it is under way.

        Raises:
            RunError: the run's own limits leave nothing for it.
        """
        if self._allowance.unlimited:
            return None
        bounds, ledger = self._plan.bounds, self._ledger
        targets = self._plan.summary_targets or self._plan.targets
        most = min(SUMMARY_TOKENS, bounds.max_output_tokens)
        allowance = self._allowance.beside(targets, most)
        tokens_in = summary_input(messages, fold)
        used, spent = ledger.usage.total_tokens, ledger.cost_micro_usd
        keep = bounds.at_limit == "wrap_up"
        room = allowance.room(used, spent, tokens_in, keep=keep)
        self._allowance.steps = allowance.worst(tokens_in, room)
        return room

    def _threshold(self) -> int:
        window = min(target.context_window for target in self._plan.targets)
        return int(window * self._plan.bounds.compaction_ratio)
