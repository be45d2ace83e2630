"""Allowance: what a run may still spend, counted before each model call at its worst case."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from executus.errors import RunError
from executus.plan import ModelTarget, RunPlan
from executus.status import Reason, Status

MIN_OUTPUT_TOKENS = 256
"""Less room than this for a reply is not worth a call."""
CLOSING_TOKENS = 1_024
"""Output kept back for the one last answer, where the policy at the limit is to wrap up."""
MILLION = 1_000_000


class Stake(NamedTuple):
    """What calls under way may take at most."""

    tokens: int = 0
    """Input plus output."""
    micro_usd: int = 0
    """Money."""

    def plus(self, tokens: int, micro_usd: int) -> "Stake":
        """With so much more, or less."""
        return Stake(self.tokens + tokens, self.micro_usd + micro_usd)


NO_STAKE = Stake()


@dataclass(slots=True)
class Allowance:
    """Limits of one run. They may be raised while it runs, never lowered."""

    tokens: int | None
    """Input plus output tokens; None = no limit."""
    micro_usd: int | None
    """Money; None = no limit."""
    max_output_tokens: int
    """Of one reply."""
    targets: Sequence[ModelTarget]
    """Any of them may answer, so the dearest counts."""
    iterations: int
    """Model turns, the answering one included."""
    steps: Stake = NO_STAKE
    """Of the run's own steps that are under way: a model call, or child runs."""
    judge: Stake = NO_STAKE
    """Of a critic's judge, who is asked beside them."""
    look: asyncio.Event | None = None
    """Set when the judge has been asked, and what it took is known."""

    @staticmethod
    def of(plan: RunPlan) -> "Allowance":
        """As the plan says."""
        bounds = plan.bounds
        return Allowance(
            bounds.tokens,
            bounds.micro_usd,
            bounds.max_output_tokens,
            plan.targets,
            bounds.max_iterations,
        )

    @property
    def unlimited(self) -> bool:
        """Whether no token and no money has to be counted."""
        return self.tokens is None and self.micro_usd is None

    @property
    def under_way(self) -> Stake:
        """All that may still be taken of what is left."""
        return self.steps.plus(self.judge.tokens, self.judge.micro_usd)

    def beside(self, targets: Sequence[ModelTarget], max_output_tokens: int) -> "Allowance":
        """The same limits, for a call of another kind."""
        return replace(self, targets=targets, max_output_tokens=max_output_tokens)

    def worst(self, tokens_in: int, tokens_out: int) -> Stake:
        """What a call may take at most."""
        prices = [target.price for target in self.targets if target.price is not None]
        money = [
            -(-(tokens_in * p.input + tokens_out * p.output) // MILLION) + p.call for p in prices
        ]
        return Stake(tokens_in + tokens_out, max(money, default=0))

    def room(self, used: int, spent: int | None, tokens_in: int, *, keep: bool) -> int:
        """Tokens that the next reply may have, so that even its worst case keeps the limits.

        `used` and `spent` so far, what is under way not counted; `tokens_in` that the call would
        send; `keep`: leave room for one closing answer after it.

        Raises:
            RunError: there is no room for a useful reply.
        """
        least = min(MIN_OUTPUT_TOKENS, self.max_output_tokens)
        room = self.max_output_tokens
        if self.tokens is not None:
            left = self.tokens - used - self.under_way.tokens
            room = min(room, self._fitting(left, tokens_in, 1, 1, keep=keep))
            if room < least:
                text = f"token limit: {used} of {self.tokens} tokens used"
                text += self._and_under_way(self.under_way.tokens)
                raise self._over(Reason.TOKEN_LIMIT, text, tokens_in)
        if self.micro_usd is None:
            return room
        if spent is None or any(target.price is None for target in self.targets):
            raise self._unpriced()
        left = (self.micro_usd - spent - self.under_way.micro_usd) * MILLION
        for price in (target.price for target in self.targets):
            if price is not None and (price.input or price.output or price.call):
                rest = left - price.call * MILLION * (2 if keep else 1)
                cap = self._fitting(rest, tokens_in, price.input, price.output, keep=keep)
                room = min(room, cap)
        if room < least:
            text = f"cost limit: {spent} of {self.micro_usd} micro-USD spent"
            text += self._and_under_way(self.under_way.micro_usd)
            raise self._over(Reason.COST_LIMIT, text, tokens_in)
        return room

    @staticmethod
    def _and_under_way(staked: int) -> str:
        return f", up to {staked} under way" if staked else ""

    @staticmethod
    def _fitting(left: int, tokens_in: int, price_in: int, price_out: int, *, keep: bool) -> int:
        """Output tokens x with in + x (and, to keep, in + x + closing once more) within `left`."""
        if not keep:
            left -= tokens_in * price_in
            return left // price_out if price_out else (MILLION if left >= 0 else -1)
        left -= 2 * tokens_in * price_in + CLOSING_TOKENS * price_out
        each = price_out + price_in  # what is said is sent again with the closing call
        return left // each if each else (MILLION if left >= 0 else -1)

    @staticmethod
    def _over(reason: Reason, text: str, tokens_in: int) -> RunError:
        message = f"{text}, the next call would send about {tokens_in} tokens"
        return RunError(Status.BUDGET_EXCEEDED, reason, message)

    def _unpriced(self) -> RunError:
        names = ", ".join(t.spec for t in self.targets if t.price is None) or "an earlier call"
        text = (
            f"cost limit: the price of {names} is not known; "
            "give the host a price for it or remove limits.micro_usd"
        )
        return RunError(Status.BUDGET_EXCEEDED, Reason.COST_LIMIT, text)
