"""Plan compaction: when to fold, and which messages.

The transcript itself is never changed. A fold is one more entry that says "these messages are
shown as this summary", so what was folded once is not summarised again (seed.md section 15).
"""

from collections.abc import Sequence

from executus.estimate import MESSAGE_TOKENS, message_tokens, part_tokens
from executus.message import FilePart, Fold, ImagePart, Message, Part, ThinkingPart, ToolResultPart
from executus.transcript import SUMMARY_RESULT_BYTES, view

KEEP_RECENT = 6
"""Newest messages that are never folded: about three calls with their results."""
INSTRUCTION_TOKENS = 256
"""What a summariser is told to do."""
MIN_FOLD = 2
"""Fewer messages than this are not worth a call."""
RETRY_GROWTH = 1.25
"""After a failed or refused summary, the conversation must grow by this factor before the next try:
otherwise every turn would pay for another failure."""


def view_tokens(messages: Sequence[Message]) -> int:
    """Estimated tokens of what the model is shown."""
    return sum(message_tokens(messages[i]) for i in view(messages))


def summary_input(messages: Sequence[Message], fold: Fold) -> int:
    """Estimated tokens of what a summariser is sent for `fold`: text, and results cut short."""
    told = [i for i in view(messages) if fold.start <= i < fold.end or messages[i].fold is not None]
    parts = (part for i in told for part in messages[i].parts)
    return INSTRUCTION_TOKENS + sum(MESSAGE_TOKENS + _told_tokens(part) for part in parts)


def _told_tokens(part: Part) -> int:
    if isinstance(part, ThinkingPart):
        return 0
    if isinstance(part, ImagePart | FilePart):
        return MESSAGE_TOKENS
    cut = SUMMARY_RESULT_BYTES // 2
    return min(part_tokens(part), cut) if isinstance(part, ToolResultPart) else part_tokens(part)


def plan_fold(
    messages: Sequence[Message], threshold: int, *, keep_opening: bool = False
) -> Fold | None:
    """The range to fold next, or None when there is nothing worth folding.

    The opening message (the goal) stays, unless it alone takes half of the threshold and need not
    be kept for a later phase. The newest messages stay. A call is never parted from its results:
    the kept tail begins at a message that is not a tool result. The range starts where an earlier
    fold started, so its summary is folded into the new one.
    """
    shown = [i for i in view(messages) if messages[i].fold is None]
    summary = next((m for m in reversed(messages) if m.fold), None)
    if len(shown) <= KEEP_RECENT:
        return None
    if summary is not None and summary.fold is not None:
        start = summary.fold.start
    else:
        large = message_tokens(messages[0]) > threshold // 2
        start = 0 if large and not keep_opening else 1
    cut = len(shown) - KEEP_RECENT
    while cut > 0 and messages[shown[cut]].role == "tool":
        cut -= 1
    end = shown[cut]
    fresh = sum(1 for i in shown if start <= i < end)
    return Fold(start=start, end=end) if fresh >= MIN_FOLD else None


def shrinks(messages: Sequence[Message], fold: Fold, summary: Message) -> bool:
    """Whether showing `summary` in place of the fold takes less room than what it replaces."""
    shown = view(messages)
    replaced = sum(
        message_tokens(messages[i])
        for i in shown
        if fold.start <= i < fold.end or messages[i].fold is not None
    )
    return message_tokens(summary) < replaced
