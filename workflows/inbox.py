"""Inbox: the one queue of what waits to be said to the agent, whoever says it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from executus.sanitize import cap_text, clean_line
from executus.steer import CALLER, CRITIC, MAX_BY, MAX_STEER, MAX_STEER_BYTES, SteerReceipt

MAX_KNOWN = 500
"""Ids remembered, so that a repeated update delivers once; the oldest is forgotten first."""


@dataclass(slots=True, eq=False)
class Steer:
    """One message."""

    text: str
    """What the model reads."""
    by: str = ""
    """Who says it, for the audit."""
    source: str = CALLER
    """caller, critic or `tool.<name>`."""
    receipt: SteerReceipt | None = None
    """Set on delivery."""


class Inbox:
    """Messages in order of arrival; each is taken once."""

    def __init__(self) -> None:
        self._waiting: list[Steer] = []
        self._known: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether it takes no more."""
        return len(self._waiting) >= MAX_STEER

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the messages that came with one."""
        return tuple(self._known)

    def knows(self, message_id: str) -> bool:
        """Whether a message of this id was put in before."""
        return message_id in self._known

    def put(
        self, text: str, *, by: str = "", source: str = CALLER, message_id: str = ""
    ) -> Steer | None:
        """Add a message, cleaned and capped; None when there is no room for it."""
        if self.full:
            return None
        by = clean_line(by, MAX_BY)
        steer = Steer(cap_text(text, MAX_STEER_BYTES).text, by, source)
        self._waiting.append(steer)
        self.remember([message_id] if message_id else [])
        return steer

    def put_back(self, texts: Sequence[str]) -> None:
        """Put messages of an earlier execution before what has come since."""
        self._waiting[:0] = [Steer(text) for text in texts]

    def remember(self, ids: Iterable[str]) -> None:
        """Take messages of these ids for delivered."""
        self._known.update(dict.fromkeys(ids))
        while len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def take(self) -> list[Steer]:
        """All that wait: people and tools first, then what the critic has to say."""
        taken, self._waiting = self._waiting, []
        return sorted(taken, key=lambda steer: steer.source == CRITIC)
