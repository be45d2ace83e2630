"""Ports: what a host may plug in. Each is optional; no port = a bounded in-memory run.

Every method may raise `StoreError` for trouble that a retry may cure; Temporal retries it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from executus.agent import RunnableAgent
from executus.audit import AuditClose, AuditOpen, AuditReceipt, AuditRow
from executus.budget import (
    BudgetCall,
    BudgetCheck,
    BudgetCommit,
    BudgetDecision,
    BudgetMeter,
    BudgetReceipt,
)
from executus.checkpoint import Checkpoint
from executus.critic_view import CriticDecision, CriticSubject, CriticView
from executus.delivery_target import DeliveryTarget
from executus.files import FileRef, FileScope
from executus.letter import DeadLetter, DeliveryItem, DeliveryReceipt
from executus.palette import PaletteAsk
from executus.plan import Port


class Audit(Protocol):
    """The record of what a run did."""

    async def start(self, opening: AuditOpen) -> None:
        """Open the record; an upsert."""
        ...

    async def record(self, run_id: str, rows: Sequence[AuditRow]) -> None:
        """Append rows; one that is there already (same key) stays as it is."""
        ...

    async def keys(self, run_id: str) -> frozenset[str]:
        """Keys of the rows that are there, so that a close can add what is missing."""
        ...

    async def close(self, closing: AuditClose) -> AuditReceipt:
        """Close the record once; a second close answers with the first one's receipt."""
        ...


class Budget(Protocol):
    """The spend cap. It fails closed: when it cannot be asked, nothing paid happens."""

    async def check(self, check: BudgetCheck) -> BudgetDecision:
        """Reserve for the run."""
        ...

    async def authorize(self, call: BudgetCall) -> BudgetDecision:
        """Extend the hold to cover one more paid call, and record the attempt before it is made."""
        ...

    async def meter(self, meter: BudgetMeter) -> None:
        """Record what the attempt took."""
        ...

    async def commit(self, commit: BudgetCommit) -> BudgetReceipt:
        """Settle the run once and release the rest of its hold; again answers the same."""
        ...


class Delivery(Protocol):
    """Where a run's outcome goes when nobody waits for it."""

    def problem(self, target: DeliveryTarget) -> str | None:
        """Why nothing can be delivered there, if so: the thing, the known set, the way out.

        Asked before anything is paid for; touches no network.
        """
        ...

    async def deliver(self, item: DeliveryItem) -> DeliveryReceipt:
        """Deliver once; the same item may come again, with the same id.

        Raises:
            DeliveryError: it did not land; says whether trying again may help.
        """
        ...


class Palette(Protocol):
    """Where agents are looked up that an agent may hand work to."""

    async def find(self, name: str, ask: PaletteAsk) -> RunnableAgent | None:
        """The agent of that name; None when this asker cannot have it."""
        ...

    async def names(self, ask: PaletteAsk) -> tuple[str, ...]:
        """Every name that this asker would find, for an error message."""
        ...


class Files(Protocol):
    """Files of runs, outside of history: attached ones, whole tool results, what tools make.

    A scope sees its own files only: an id of another one is unknown.
    """

    async def put(self, scope: FileScope, name: str, mime: str, data: bytes) -> FileRef:
        """Keep a file; the same again is the same file.

        Raises:
            FileRefused: it is empty or too large.
        """
        ...

    async def get(
        self, scope: FileScope, file_id: str, start: int = 0, length: int | None = None
    ) -> bytes:
        """At most `length` bytes from `start` on; fewer at the end, none past it.

        Raises:
            UnknownFile: the scope has none of this id.
        """
        ...

    async def stat(self, scope: FileScope, file_id: str) -> FileRef | None:
        """What is known of a file; None when the scope has none of this id."""
        ...

    async def files(self, scope: FileScope) -> Sequence[FileRef]:
        """All files of a scope, by name."""
        ...


class DeadLetters(Protocol):
    """Deliveries that did not land, until somebody sends them again."""

    async def keep(self, letter: DeadLetter) -> None:
        """Add it; one that is there already (same id) stays as it is."""
        ...

    async def claim(self, letter_id: str, seconds: float) -> DeadLetter | None:
        """Take one to send it, for so long at most; None when it is gone, delivered or taken."""
        ...

    async def landed(self, letter_id: str, at: datetime) -> None:
        """It was delivered: forget its content."""
        ...

    async def failed(self, letter_id: str, error: str, status_code: int | None) -> None:
        """It failed once more: count it, and let others take it."""
        ...

    async def letters(
        self, run_id: str | None = None, *, delivered: bool = False, limit: int = 1_000
    ) -> list[DeadLetter]:
        """Those that wait, the oldest first; `delivered` ones too if asked."""
        ...

    async def drop(self, run_id: str | None = None, *, before: datetime | None = None) -> int:
        """Forget those of a run, or that failed last before a time; answers how many."""
        ...


class Checkpointer(Protocol):
    """Where a host keeps copies of its runs."""

    async def save(self, checkpoint: Checkpoint) -> None:
        """Keep the newest state of a run; an older one that arrives late changes nothing."""
        ...

    async def load(self, run_id: str) -> Checkpoint | None:
        """The newest state; None when there is none."""
        ...


class Critic(Protocol):
    """Watches runs: a host's own, for agents whose `critic.kind` is no shipped one."""

    async def watches(self, subject: CriticSubject) -> bool:
        """Whether this run is watched; if not, its plain max_runtime is its deadline."""
        ...

    async def decide(self, view: CriticView) -> CriticDecision:
        """What is to happen. Raising, or taking longer than a minute, changes nothing."""
        ...


@runtime_checkable
class Ready(Protocol):
    """A port that can be looked at before a worker takes its first task; a host's own need not."""

    async def ready(self) -> None:
        """Be whole.

        Raises:
            SchemaError: it is not, and waiting will not help.
            StoreError: it does not answer now.
        """
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one host."""

    audit: Audit | None = None
    """Where runs are recorded."""
    budget: Budget | None = None
    """What runs may spend."""
    palette: Palette | None = None
    """Where sub-agents and skills are looked up; None = the worker's registered agents."""
    files: Files | None = None
    """Where attached files, whole results and what tools make are kept."""
    delivery: Delivery | None = None
    """Where outcomes go; without it an invocation with a target is refused."""
    letters: DeadLetters | None = None
    """Where deliveries are kept that did not land; without it they are lost, with a warning."""
    checkpointer: Checkpointer | None = None
    """Where copies of runs are kept, to look at and to fork from."""
    critic: Critic | None = None
    """Watches runs of agents whose `critic.kind` is neither `watchdog` nor `judge`."""

    @property
    def wired(self) -> tuple[Port, ...]:
        """Names of the ports that are there."""
        names: list[Port] = []
        if self.audit is not None:
            names.append("audit")
        if self.budget is not None:
            names.append("budget")
        if self.checkpointer is not None:
            names.append("checkpointer")
        if self.files is not None:
            names.append("files")
        if self.delivery is not None:
            names.append("delivery")
        if self.letters is not None:
            names.append("letters")
        return tuple(names)
