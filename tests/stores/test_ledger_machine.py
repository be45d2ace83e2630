"""The budget as a state machine: random operations and crashes against a model of the ledger.

After every step the sums in the store are the sums over the runs, and no more is used than the cap
allows, unless an overrun says why. A planted bug shows that the machine can fail.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import event, select

from bench.postgres import Postgres
from executus.budget import BudgetCommit, BudgetDecision
from executus.errors import StoreError
from executus.stores import prepared
from executus.stores.caps import CapChange
from executus.stores.database import Database
from executus.stores.gate import Gate
from executus.stores.memory import MemoryBudget
from executus.stores.prepared import driver
from executus.stores.schema import budget_runs
from executus.stores.sql_budget import SqlBudget
from tests.stores.clocks import Clock, call, check, meter

CAP = 100
RUNS = st.integers(0, 3).map("run{}".format)
TOKENS = st.integers(0, 60)


@dataclass
class Run:
    """The model of one run; tokens only."""

    share: int
    parent: str | None
    calls: dict[int, "Paid"] = field(default_factory=dict)
    settled: bool = False

    @property
    def need(self) -> int:
        return sum(paid.charge for paid in self.calls.values())


@dataclass
class Paid:
    """The model of one paid call."""

    charge: int
    took: int | None = None


class Crash(Exception):
    """The process died in the middle of a transaction."""


class Ledger(RuleBasedStateMachine):
    """Subclasses say on which store."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.runs: dict[str, Run] = {}
        self.overrun = 0
        self.budget = self.open()
        self.do(self.budget.set_cap(CapChange("agent:*", verdict="unlimited")))
        self.do(self.budget.set_cap(CapChange("caller:alice", "total", "tokens", CAP)))
        self.do(self.budget.set_cap(CapChange("caller:alice", "day", "tokens", CAP)))

    def open(self) -> Any:
        raise NotImplementedError

    def crash(self, statement: int) -> Any:
        """A context in which the store dies at its n-th statement."""
        raise NotImplementedError

    def reopen(self) -> None:
        """What is in memory is gone; what is on disk is not."""

    def do(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.loop.close()

    @property
    def used(self) -> int:
        return sum(run.need if run.settled else run.share for run in self.runs.values())

    def open_runs(self) -> list[str]:
        return [name for name, run in self.runs.items() if not run.settled]

    # -- operations, each as a person or Temporal would repeat it after a crash --------------------

    @rule(name=RUNS, parent=st.none() | RUNS, tokens=TOKENS, crash=st.none() | st.integers(1, 9))
    def check_run(self, name: str, parent: str | None, tokens: int, crash: int | None) -> None:
        if name in self.runs or parent == name:
            return
        ask = check(name, tokens=tokens, parent_run_id=parent)
        drawn, holder = 0, self.runs.get(parent or "")
        if holder is not None and not holder.settled:
            drawn = min(tokens, max(0, holder.share - holder.need))
        else:
            holder = None
        fresh = tokens - drawn
        fits = fresh == 0 or self.used + fresh <= CAP
        decision: BudgetDecision = self.attempt(lambda: self.budget.check(ask), crash)
        assert decision.admitted is fits, (self.used, fresh, decision)
        if fits:
            if holder is not None:
                holder.share -= drawn
            self.runs[name] = Run(tokens, parent if holder is not None else None)

    @precondition(lambda self: self.open_runs())
    @rule(data=st.data(), tokens=TOKENS, crash=st.none() | st.integers(1, 9))
    def authorize_call(self, data: st.DataObject, tokens: int, crash: int | None) -> None:
        name = data.draw(st.sampled_from(self.open_runs()))
        run = self.runs[name]
        number = len(run.calls) + 1
        short = max(0, run.need + tokens - run.share)
        holder = self.runs.get(run.parent or "")
        drawn = 0
        if holder is not None and not holder.settled:
            drawn = min(short, max(0, holder.share - holder.need))
        fits = short == drawn or self.used + short - drawn <= CAP
        paid = call(name, f"m{number}", tokens=tokens)
        decision: BudgetDecision = self.attempt(lambda: self.budget.authorize(paid), crash)
        assert decision.admitted is fits, (self.used, short, drawn, decision)
        if fits:
            if holder is not None:
                holder.share -= drawn
            run.share += short
            run.calls[number] = Paid(tokens)

    @precondition(lambda self: any(run.calls for run in self.runs.values()))
    @rule(data=st.data(), tokens=TOKENS, crash=st.none() | st.integers(1, 9))
    def meter_call(self, data: st.DataObject, tokens: int, crash: int | None) -> None:
        names = [name for name, run in self.runs.items() if run.calls]
        name = data.draw(st.sampled_from(names))
        run = self.runs[name]
        number = data.draw(st.sampled_from(sorted(run.calls)))
        paid = run.calls[number]
        tokens = tokens if paid.took is None else paid.took
        took = meter(name, f"m{number}", tokens=tokens)
        self.attempt(lambda: self.budget.meter(took), crash)
        if paid.took is not None:
            return
        paid.took = tokens
        if run.settled:  # charged at its worst case already
            self.overrun += max(0, tokens - paid.charge)
            paid.charge = max(tokens, paid.charge)
            return
        paid.charge = tokens
        excess = max(0, run.need - run.share)
        run.share += excess
        self.overrun += excess

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), crash=st.none() | st.integers(1, 9))
    def commit_run(self, data: st.DataObject, crash: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.runs)))
        run = self.runs[name]
        settle = BudgetCommit(run_id=name, seconds=0)
        receipt = self.attempt(lambda: self.budget.commit(settle), crash)
        assert receipt.tokens == run.need
        if not run.settled:
            holder = self.runs.get(run.parent or "")
            if holder is not None and not holder.settled:
                holder.share += max(0, run.share - run.need)
            run.settled = True

    def attempt(self, work: Callable[[], Awaitable[Any]], crash: int | None) -> Any:
        """Do it; with a crash: die at that statement, come back, do it again."""
        if crash is not None:
            try:
                with self.crash(crash):
                    self.do(work())
            except (Crash, StoreError):
                pass
            self.reopen()
        return self.do(work())

    @invariant()
    def the_sums_are_those_of_the_runs(self) -> None:
        uses = {(u.window, u.currency): u for u in self.do(self.budget.show("caller:alice"))}
        total = uses["total", "tokens"]
        held = sum(run.share for run in self.runs.values() if not run.settled)
        spent = sum(run.need for run in self.runs.values() if run.settled)
        assert (total.settled, total.reserved) == (spent, held)
        day = uses["day", "tokens"]
        assert (day.settled, day.reserved) == (spent, held)
        assert spent + held <= CAP + self.overrun


class MemoryLedger(Ledger):
    def open(self) -> Any:
        return MemoryBudget(clock=self.clock)

    @contextmanager
    def crash(self, statement: int) -> Iterator[None]:
        yield


class SqlLedger(Ledger):
    budget_type: type[SqlBudget] = SqlBudget
    servers: ClassVar[list[Postgres]] = []

    def open(self) -> Any:
        self.url = self.make_url()
        return self.connect(auto_migrate=True)

    def make_url(self) -> str:
        self.folder = tempfile.TemporaryDirectory()
        return f"sqlite:///{self.folder.name}/ledger.db"

    def connect(self, *, auto_migrate: bool = False) -> SqlBudget:
        self.database = Database(self.url, auto_migrate=auto_migrate, clock=self.clock)
        return self.budget_type(self.database)

    @contextmanager
    def crash(self, statement: int) -> Iterator[None]:
        engine = self.database._backend._engine  # type: ignore[attr-defined]
        left = statement

        def die(*_: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crash

        def dying(connection: Any) -> Any:
            die()
            return driver(connection)

        engine = getattr(engine, "sync_engine", engine)
        event.listen(engine, "before_cursor_execute", die)
        prepared.driver = dying  # SQLite's statements do not pass by the engine
        try:
            yield
        finally:
            prepared.driver = driver
            event.remove(engine, "before_cursor_execute", die)

    def reopen(self) -> None:
        self.do(self.database.close())
        self.budget = self.connect()

    def teardown(self) -> None:
        def settles(connection: Any) -> list[tuple[int, bool]]:
            query = select(budget_runs.c.n_settle, budget_runs.c.settled_at.is_not(None))
            return [tuple(row) for row in connection.execute(query)]

        assert all(count == int(done) for count, done in self.do(self.database.read(settles)))
        self.do(self.database.close())
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


class PostgresLedger(SqlLedger):
    def make_url(self) -> str:
        return self.servers[0].new_schema()


class ForgetfulGate(Gate):
    """The planted bug: what others hold does not count."""

    def used(self, settled: Any, reserved: Any) -> Any:
        return settled


class ForgetfulBudget(SqlBudget):
    gate_type = ForgetfulGate


class ForgetfulLedger(SqlLedger):
    budget_type = ForgetfulBudget


def machine(kind: type[Ledger], examples: int, steps: int) -> None:
    case = kind.TestCase  # type: ignore[attr-defined]
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if kind is not ForgetfulLedger else (Phase.generate,),
    )
    case().runTest()


@pytest.mark.timeout(300)
def test_the_ledger_in_memory_follows_the_model() -> None:
    machine(MemoryLedger, 120, 25)


def test_the_ledger_on_sqlite_follows_the_model_through_crashes() -> None:
    machine(SqlLedger, 15, 15)


def test_the_ledger_on_postgresql_follows_the_model_through_crashes(postgres: Postgres) -> None:
    PostgresLedger.servers[:] = [postgres]
    machine(PostgresLedger, 8, 12)


def test_the_machine_finds_a_gate_that_forgets_what_others_hold() -> None:
    with pytest.raises(AssertionError):
        machine(ForgetfulLedger, 60, 15)
