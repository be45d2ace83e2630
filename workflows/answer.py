"""Find the answer of a run in its transcript.

Models sometimes put the whole answer beside their last tool call and close with "as I said above".
The paid-for text must not be lost, and a short real answer ("42") must not be replaced.
"""

import re
from collections.abc import Iterator, Sequence

from executus.message import Message

BACK_REFERENCE = re.compile(
    r"\b(?:already (?:answered|provided|given|explained|described|summari[sz]ed)"
    r"|(?:as|see|answer(?:ed)?|provided|mentioned|stated|given|listed|described) (?:\w+ ){0,3}above"
    r"|(?:in|see) my (?:previous|earlier|last) (?:message|reply|response|answer))\b",
    re.IGNORECASE,
)
MAX_BACK_REFERENCE = 240
"""Characters: a longer closing text says something of its own."""
MIN_SUBSTANCE = 40
"""Characters: a shorter aside beside a tool call ("Let me look.") is no answer."""


def is_weak(text: str) -> bool:
    """Whether a closing text only points back: empty, or a short back-reference."""
    text = text.strip()
    return not text or (len(text) <= MAX_BACK_REFERENCE and bool(BACK_REFERENCE.search(text)))


def final_answer(closing: str, earlier: Sequence[Message]) -> str:
    """The closing text, or when it only points back the last substantive text before it."""
    if not is_weak(closing):
        return closing
    return next(filter(_is_substance, _texts(earlier)), closing)


def best_text(messages: Sequence[Message]) -> str:
    """The last substantive assistant text: the partial answer of a run that was stopped."""
    texts = list(_texts(messages))
    return next(filter(_is_substance, texts), texts[0] if texts else "")


def _texts(messages: Sequence[Message]) -> Iterator[str]:
    """What the assistant said that does not only point back, the newest first."""
    return (m.text for m in reversed(messages) if m.role == "assistant" and not is_weak(m.text))


def _is_substance(text: str) -> bool:
    return len(text.strip()) >= MIN_SUBSTANCE
