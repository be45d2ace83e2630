"""Dead letters in memory: the same answers as the SQL store, for tests and demos."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from executus.letter import DeadLetter
from executus.stores.canonical import EPOCH, ident


class MemoryLetters:
    """`DeadLetters` that live as long as this object."""

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        """`clock` replaces the system's, for tests."""
        self._clock = clock or (lambda: datetime.now(UTC))
        self._letters: dict[str, DeadLetter] = {}
        self._claimed: dict[str, datetime] = {}

    async def keep(self, letter: DeadLetter) -> None:
        """Add it; one that is there already stays as it is."""
        self._letters.setdefault(letter.id, letter)

    async def claim(self, letter_id: str, seconds: float) -> DeadLetter | None:
        """Take one to send it; None when it is gone, delivered or taken."""
        letter, now = self._letters.get(letter_id), self._clock()
        if letter is None or letter.delivered_at is not None:
            return None
        if self._claimed.get(letter_id, EPOCH) > now:
            return None
        self._claimed[letter_id] = now + timedelta(seconds=seconds)
        return letter

    async def landed(self, letter_id: str, at: datetime) -> None:
        """It was delivered: forget its content."""
        self._change(letter_id, delivered_at=at, item=None)

    async def failed(self, letter_id: str, error: str, status_code: int | None) -> None:
        """It failed once more: count it, and let others take it."""
        letter = self._letters.get(letter_id)
        if letter is not None:
            self._claimed.pop(letter_id, None)
            self._change(
                letter_id,
                attempts=letter.attempts + 1,
                error=error,
                status_code=status_code,
                failed_at=self._clock(),
            )

    async def letters(
        self, run_id: str | None = None, *, delivered: bool = False, limit: int = 1_000
    ) -> list[DeadLetter]:
        """Those that wait, the oldest first; `delivered` ones too if asked."""
        found = [
            letter
            for letter in self._letters.values()
            if (run_id is None or ident(letter.run_id) == ident(run_id))
            and (delivered or letter.delivered_at is None)
        ]
        return sorted(found, key=lambda letter: (letter.failed_at, letter.id))[:limit]

    async def drop(self, run_id: str | None = None, *, before: datetime | None = None) -> int:
        """Forget those of a run, or that failed last before a time; answers how many."""
        gone = [
            letter
            for letter in await self.letters(run_id, delivered=True, limit=len(self._letters))
            if before is None or letter.failed_at < before
        ]
        for letter in gone:
            del self._letters[letter.id]
        return len(gone)

    def _change(self, letter_id: str, **fields: object) -> None:
        letter = self._letters.get(letter_id)
        if letter is not None:
            self._letters[letter_id] = letter.model_copy(update=fields)
