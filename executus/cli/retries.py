"""Tell who follows a run what it waits for: a store that is away, a model or tool tried again.

Temporal alone knows: an activity that failed and is tried again ends no step, and its reason stands
in the log of a worker that may be elsewhere.
"""

import asyncio

from temporalio.client import Client

from executus.cli.live import View, duration, labelled
from executus.pending import last_failure
from executus.redact import Redactor
from executus.sanitize import clean_line

LOOK_SECONDS = 2.0
"""Between two looks: a request to Temporal each."""
WAITING_SECONDS = 1.0
"""The same while something is waited for."""
AGAIN_SECONDS = 15.0
"""Between two lines about the same wait, when its reason changes."""
QUIET_LOOKS = 2
"""Looks without a failure before the run is said to go on: its next activity may fail too."""
MAX_REASON = 300


class Retries:
    """Says once what is tried again and why, and when the run goes on."""

    def __init__(self, client: Client, run_id: str, view: View) -> None:
        self._client = client
        self._run_id = run_id
        self._view = view
        self._look_at = 0.0
        self._since: float | None = None
        self._quiet = 0
        self._said: dict[str, str] = {}
        self._said_at = 0.0

    async def tell(self) -> None:
        """Look, if it is time to, and say what is new.

        Raises:
            RPCError: Temporal cannot be asked now.
        """
        now = asyncio.get_running_loop().time()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        found = await self._failing()
        if found:
            self._waits(found, now)
        elif self._since is not None:
            self._goes_on(now)
        if self._since is not None:
            self._look_at = now + WAITING_SECONDS

    def _waits(self, found: dict[str, str], now: float) -> None:
        self._quiet = 0
        begins = self._since is None
        self._since = now if self._since is None else self._since
        new = {name: why for name, why in found.items() if why not in self._said.values()}
        if new and (begins or now >= self._said_at + AGAIN_SECONDS):
            self._said_at = now
            self._said |= found
            for name, why in new.items():
                self._view.note(labelled("waiting", f"{name} is tried again: {why}"))

    def _goes_on(self, now: float) -> None:
        self._quiet += 1
        if self._quiet >= QUIET_LOOKS and self._since is not None:
            waited = duration(now - self._since)
            self._view.note(labelled("going on", f"{', '.join(self._said)}: waited {waited}"))
            self._since, self._said = None, {}

    async def _failing(self) -> dict[str, str]:
        """Activities that failed and are tried again -> why the last attempt failed."""
        about = await self._client.get_workflow_handle(self._run_id).describe()
        found: dict[str, str] = {}
        for pending in about.raw_description.pending_activities:
            text = await last_failure(self._client, pending)
            if text:
                name = clean_line(pending.activity_type.name.removeprefix("executus."), 100)
                found[name] = clean_line(Redactor().text(text), MAX_REASON)
        return found
