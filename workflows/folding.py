"""Folding: old messages give way to a summary when the context window fills."""

from executus.plan import RunPlan
from executus.workflows.compaction import RETRY_GROWTH, plan_fold, shrinks
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
        *,
        keep_opening: bool = False,
    ) -> None:
        self._keep_opening = keep_opening
        self._plan = plan
        self._dialogue = dialogue
        self._ledger = ledger
        self._engine = engine
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
        """Fold; `forced`: a model has refused the conversation as too large. Whether it helped."""
        if not self._plan.bounds.compaction_ratio:
            return False
        before = self._dialogue.input_tokens()
        messages = self._dialogue.messages
        threshold = before if forced else self._threshold()
        fold = plan_fold(messages, threshold, keep_opening=self._keep_opening)
        if fold is None:
            return False
        self.count += 1
        step_id = f"c{self.count}"
        summary = await self._engine.compact(step_id, fold)
        self._engine.checkpoint()
        empty = summary is None or not summary.text.strip()
        if summary is None or empty or not shrinks(messages, fold, summary):
            self.retry_from = int(before * RETRY_GROWTH)
            why = "no summary" if empty else "the summary would not shrink it"
            self._ledger.event("compaction_failed", why, self._engine.now(), tokens=before)
            return False
        self._dialogue.say(summary, step_id)
        self._dialogue.recount()
        after = self._dialogue.input_tokens()
        text = f"messages {fold.start}-{fold.end - 1}: about {before} -> {after} tokens"
        now = self._engine.now()
        self._ledger.event("compaction_fired", text, now, before=before, after=after)
        return True

    def _threshold(self) -> int:
        window = min(target.context_window for target in self._plan.targets)
        return int(window * self._plan.bounds.compaction_ratio)
