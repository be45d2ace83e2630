"""The budget in a database: reserve, extend, record each attempt before it is paid, settle once.

A run's hold (`share`) always covers what its attempts may cost (`need`). What the hold lacks comes
from its parent's slack first and through the gate after that. Settling charges what was metered,
and attempts that never were (a killed worker) at their worst case; whatever is left goes back to
the parent, or is released. Times, windows and sums are the database's own.
"""

from collections.abc import Callable

from sqlalchemy import Connection, and_, bindparam, select, update

from executus.budget import (
    BudgetCall,
    BudgetCheck,
    BudgetCommit,
    BudgetDecision,
    BudgetMeter,
    BudgetReceipt,
    Currency,
)
from executus.errors import ReservationMismatch
from executus.stores.budget_desk import BudgetDesk
from executus.stores.canonical import ident, micros
from executus.stores.dialects import insert
from executus.stores.gate import Denied, Hold, Refused, hold_of, row_of, with_share
from executus.stores.ledger import (
    CURRENCIES,
    HOUR,
    MAX_AMOUNT,
    ZERO,
    Amounts,
    call_amounts,
    call_params,
    check_amounts,
    check_params,
    denied_state,
    denied_unpriced,
    may_draw,
    milliseconds,
    runtime,
    scopes_of,
    whole,
)
from executus.stores.prepared import Prepared, unless_there
from executus.stores.schema import budget_attempts as attempts
from executus.stores.schema import budget_overruns as overruns
from executus.stores.schema import budget_runs as runs

ADMITTED = BudgetDecision(admitted=True)

# Statements stand here once: building one costs more than running it.
NEW_RUN, NEW_ATTEMPT = unless_there(runs), unless_there(attempts)
HOLD = Prepared(select(runs).where(runs.c.run_id == bindparam("at_run")).with_for_update())
CHANGING = (
    *("share_ms", "share_tokens", "share_micro_usd", "need_tokens", "need_micro_usd"),
    *("settled_at", "n_settle", "child_ms", "lost", "before_ms"),
)
SAVE = Prepared(
    update(runs)
    .where(runs.c.run_id == bindparam("at_run"))
    .values({name: bindparam(name) for name in CHANGING})
)
CALL_KEY = ("run_id", "execution_id", "step_id", "attempt")
IS_CALL = and_(*(attempts.c[name] == bindparam(f"at_{name}") for name in CALL_KEY))
ATTEMPT = Prepared(select(attempts).where(IS_CALL))
METERED = Prepared(
    update(attempts)
    .where(IS_CALL)
    .values(
        state="metered",
        actual_tokens=bindparam("tokens"),
        actual_micro_usd=bindparam("micro_usd"),
    )
)
LOST = Prepared(
    update(attempts)
    .where(attempts.c.run_id == bindparam("at_run"), attempts.c.state == "started")
    .values(state="lost")
)
GATE_TRIES = 3
"""Times a refusal is looked at again when room came back before it could be explained."""


class SqlBudget(BudgetDesk):
    """A `Budget` in SQLite or PostgreSQL. The database belongs to the caller.

    It fails closed: a scope of which nothing was said has no budget, unless
    `unlimited_by_default=True` says that it needs none.
    """

    async def check(self, check: BudgetCheck) -> BudgetDecision:
        """Reserve for the run under all caps, or nothing."""

        def work(connection: Connection) -> BudgetDecision:
            return self._check(connection, check)

        return await self._gated(work)

    async def authorize(self, call: BudgetCall) -> BudgetDecision:
        """Extend the hold for one more call and record the attempt, before it is made."""

        def work(connection: Connection) -> BudgetDecision:
            return self._authorize(connection, call)

        return await self._gated(work)

    async def meter(self, meter: BudgetMeter) -> None:
        """Record what the attempt took; beyond what is held it is an overrun, counted at once."""

        def work(connection: Connection) -> None:
            self._meter(connection, meter)

        await self._database.write(work)

    async def commit(self, commit: BudgetCommit) -> BudgetReceipt:
        """Settle once, into the window of the reserve; again answers the same.

        A run that was never reserved has nothing to settle.
        """

        def work(connection: Connection) -> BudgetReceipt:
            hold = _hold(connection, ident(commit.run_id))
            if hold is None:
                return BudgetReceipt()
            if hold.settled_at is None:
                hold = self._settle(connection, hold, commit)
            return BudgetReceipt(
                seconds=hold.share.ms / 1000,
                tokens=hold.share.tokens,
                micro_usd=hold.share.micro_usd,
                lost_attempts=hold.lost,
            )

        return await self._database.write(work)

    async def _gated(self, work: Callable[[Connection], BudgetDecision]) -> BudgetDecision:
        """Run `work`; a refusal rolls it back and is explained from what is there then."""
        for _ in range(GATE_TRIES):
            try:
                return await self._database.write(work)
            except Refused as refusal:
                return refusal.decision
            except Denied as refusal:
                decision = await self._explain(refusal)
                if decision is not None:
                    return decision
        return BudgetDecision(admitted=False, message="the budget is contended", retry_after=1.0)

    async def _explain(self, refusal: Denied) -> BudgetDecision | None:
        def work(connection: Connection) -> BudgetDecision | None:
            now = self._database.now(connection)
            return self._gate.explain(connection, refusal, now)

        return await self._database.read(work)

    def _check(self, connection: Connection, check: BudgetCheck) -> BudgetDecision:
        run_id, params = ident(check.run_id), check_params(check)
        before = _hold(connection, run_id)
        if before is None:
            hold = self._draft(connection, check, run_id, params)
            if NEW_RUN.all(connection, row_of(hold)):
                hold = self._cover(connection, hold, check_amounts(check))
                _save(connection, hold)
                return ADMITTED
            before = _hold(connection, run_id)
        if before is not None and check.reset:
            asked = check_amounts(check)
            if before.settled_at is not None:
                before = self._reopen(connection, before, asked)
            else:
                before = self._cover(connection, before, asked.minus(before.share).floor())
            _save(connection, before)
            return ADMITTED
        if before is None or before.params != params:
            raise ReservationMismatch(f"run {run_id} was reserved with other parameters")
        if before.settled_at is not None:
            return denied_state(run_id, "is settled already")
        return ADMITTED

    def _draft(self, connection: Connection, check: BudgetCheck, run_id: str, params: str) -> Hold:
        """The run's hold with nothing in it; a child counts where its parent counts, too."""
        now = self._database.now(connection)
        parent = _parent(connection, check.parent_run_id)
        if parent is not None and not may_draw(check, parent.scopes):
            parent = None
        own = scopes_of(check)
        return Hold(
            run_id=run_id,
            workflow_run_id=ident(check.workflow_run_id),
            params=params,
            parent_run_id=None if parent is None else parent.run_id,
            root_run_id=run_id if parent is None else parent.root_run_id,
            scopes=own if parent is None else tuple(sorted({*own, *parent.scopes})),
            reserved_at=now,
            hour=now // HOUR if parent is None else parent.hour,
            expires_at=micros(check.expires_at),
            share=ZERO,
        )

    def _authorize(self, connection: Connection, call: BudgetCall) -> BudgetDecision:
        run_id = ident(call.run_id)
        hold = _hold(connection, run_id)
        if hold is not None and hold.settled_at is not None and call.reset_seconds is not None:
            hold = self._reopen(connection, hold, Amounts(milliseconds(call.reset_seconds)))
            _save(connection, hold)
        if hold is None or hold.settled_at is not None:
            return denied_state(run_id, "has no reservation" if hold is None else "is settled")
        params, estimate = call_params(call), call_amounts(call)
        values = _key(call) | {
            "params": params,
            "state": "started",
            "estimate_tokens": estimate.tokens,
            "estimate_micro_usd": estimate.micro_usd,
            "actual_tokens": None,
            "actual_micro_usd": None,
            "at": self._database.now(connection),
        }
        if not NEW_ATTEMPT.all(connection, values):
            if ATTEMPT.first(connection, _at(call)).params != params:
                raise ReservationMismatch(f"call {_name(call)} was authorised otherwise before")
            return ADMITTED
        if call.micro_usd is None:
            holding = self._gate.caps(connection, hold.scopes)
            priced = [cap for cap in holding if cap.currency == "micro_usd"]
            if priced:
                raise Refused(denied_unpriced(priced[0]))
        hold = hold._replace(need=hold.need.plus(estimate))
        short = hold.need.minus(hold.share._replace(ms=0)).floor()
        if short != ZERO:
            hold = self._cover(connection, hold, short)
        _save(connection, hold)
        return ADMITTED

    def _reopen(self, connection: Connection, hold: Hold, asked: Amounts) -> Hold:
        """The hold as it was before it was settled, with `asked` besides: the run was reset.

        What it spent stays counted, in the window of the reserve.
        """
        spent = hold.share
        changes = dict.fromkeys(hold.scopes, (spent, ZERO.minus(spent)))
        self._gate.post(connection, hold, changes)
        parent = _parent(connection, hold.parent_run_id)
        if parent is not None:
            _save(connection, parent._replace(child_ms=parent.child_ms - spent.ms))
        opened = hold._replace(settled_at=None, n_settle=0, before_ms=spent.ms, child_ms=0)
        return self._cover(connection, opened, asked)

    def _cover(self, connection: Connection, hold: Hold, short: Amounts) -> Hold:
        """Bring `short` into the hold: from the parent's slack, the rest through the gate."""
        parent = _parent(connection, hold.parent_run_id)
        drawn = ZERO if parent is None else short.least(parent.slack)
        shared = () if parent is None else parent.scopes
        fresh = short.minus(drawn)
        asked = {scope: fresh if scope in shared else short for scope in hold.scopes}
        self._gate.take(connection, hold, asked)
        if parent is not None and drawn != ZERO:
            _save(connection, with_share(parent, ZERO.minus(drawn)))
        return with_share(hold, short)

    def _meter(self, connection: Connection, meter: BudgetMeter) -> None:
        hold = _hold(connection, ident(meter.run_id))
        attempt = ATTEMPT.first(connection, _at(meter))
        if hold is None or attempt is None:
            raise ReservationMismatch(f"call {_name(meter)} was never authorised")
        estimate = Amounts(0, attempt.estimate_tokens, attempt.estimate_micro_usd)
        micro_usd = estimate.micro_usd if meter.micro_usd is None else whole(meter.micro_usd)
        actual = Amounts(0, whole(meter.tokens), micro_usd)
        if attempt.state == "metered":
            if (attempt.actual_tokens, attempt.actual_micro_usd) != actual[1:]:
                raise ReservationMismatch(f"call {_name(meter)} was metered otherwise before")
            return
        took = {"tokens": actual.tokens, "micro_usd": actual.micro_usd}
        METERED.run(connection, _at(meter) | took)
        if attempt.state == "lost":
            self._meter_late(connection, hold, meter, actual.minus(estimate).floor())
            return
        hold = hold._replace(need=hold.need.plus(actual.minus(estimate)))
        excess = hold.need.minus(hold.share._replace(ms=0)).floor()
        if excess != ZERO:
            self._gate.post(connection, hold, dict.fromkeys(hold.scopes, (excess, ZERO)))
            self._note_overrun(connection, hold, _name(meter), excess)
        _save(connection, with_share(hold, excess))

    def _meter_late(
        self, connection: Connection, hold: Hold, meter: BudgetMeter, excess: Amounts
    ) -> None:
        """A lost attempt turns up after the settlement: what it took beyond its charge is added."""
        if excess != ZERO:
            self._gate.post(connection, hold, dict.fromkeys(hold.scopes, (ZERO, excess)))
            self._note_overrun(connection, hold, f"late {_name(meter)}", excess)
            hold = hold._replace(need=hold.need.plus(excess))
            _save(connection, with_share(hold, excess))

    def _settle(self, connection: Connection, hold: Hold, commit: BudgetCommit) -> Hold:
        ms = runtime(commit, hold.child_ms, hold.before_ms)
        parent = _parent(connection, hold.parent_run_id)
        lost = LOST.run(connection, {"at_run": hold.run_id})
        actual = hold.need._replace(ms=ms)
        rest = ZERO if parent is None else hold.share.minus(actual).floor()
        shared = () if parent is None else parent.scopes
        changes = {
            scope: ((rest if scope in shared else ZERO).minus(hold.share), actual)
            for scope in hold.scopes
        }
        self._gate.post(connection, hold, changes)
        cause = "settle" if hold.before_ms is None else f"settle {commit.execution_id}"
        self._note_overrun(connection, hold, cause, actual.minus(hold.share).floor())
        if parent is not None:
            returned = parent._replace(child_ms=parent.child_ms + actual.ms)
            _save(connection, with_share(returned, rest))
        settled = hold._replace(
            share=actual,
            settled_at=self._database.now(connection),
            n_settle=hold.n_settle + 1,
            lost=hold.lost + lost,
        )
        _save(connection, settled)
        return settled

    def _note_overrun(
        self, connection: Connection, hold: Hold, cause: str, excess: Amounts
    ) -> None:
        found: list[Currency] = [c for c in CURRENCIES if excess.of(c)]
        if found:
            at = self._database.now(connection)
            row = {"run_id": hold.run_id, "cause": cause, "at": at}
            values = [{**row, "currency": c, "excess": excess.of(c)} for c in found]
            new = insert(self._database.dialect, overruns).on_conflict_do_nothing()
            connection.execute(new, values)


def _hold(connection: Connection, run_id: str) -> Hold | None:
    """The run's reservation, locked until the transaction ends."""
    row = HOLD.first(connection, {"at_run": run_id})
    return None if row is None else hold_of(row)


def _parent(connection: Connection, run_id: str | None) -> Hold | None:
    """The parent's reservation, locked, while it is not settled."""
    hold = None if run_id is None else _hold(connection, ident(run_id))
    return None if hold is None or hold.settled_at is not None else hold


def _save(connection: Connection, hold: Hold) -> None:
    row = row_of(hold)
    SAVE.run(connection, {name: row[name] for name in CHANGING} | {"at_run": hold.run_id})


def _key(call: BudgetCall | BudgetMeter) -> dict[str, object]:
    return {
        "run_id": ident(call.run_id),
        "execution_id": ident(call.execution_id),
        "step_id": ident(call.step_id),
        "attempt": min(call.attempt, MAX_AMOUNT),
    }


def _at(call: BudgetCall | BudgetMeter) -> dict[str, object]:
    return {f"at_{name}": value for name, value in _key(call).items()}


def _name(call: BudgetCall | BudgetMeter) -> str:
    key = _key(call)
    return f"{key['execution_id']}:{key['step_id']}:{key['attempt']}"
