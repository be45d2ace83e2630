"""A clock that stands still until a test moves it, and the plain data that the tests share."""

from datetime import UTC, datetime, timedelta
from typing import Any

from executus.audit import AuditClose, AuditOpen, AuditRow
from executus.budget import BudgetCall, BudgetCheck, BudgetMeter

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **delta: float) -> None:
        self.now += timedelta(**delta)


def opening(run_id: str = "run", **fields: Any) -> AuditOpen:
    return AuditOpen(
        **{
            "run_id": run_id,
            "workflow_run_id": f"{run_id}-first",
            "agent_id": "agent",
            "agent_name": "Agent",
            "caller_id": "alice",
            "started_at": NOW,
            "deadline_at": NOW + timedelta(seconds=60),
            **fields,
        }
    )


def row(key: str = "m1#1", **fields: Any) -> AuditRow:
    return AuditRow(
        **{"key": key, "kind": "model", "name": "p/m", "status": "complete", "at": NOW, **fields}
    )


def closing(run_id: str = "run", **fields: Any) -> AuditClose:
    return AuditClose(
        **{
            "opening": opening(run_id),
            "status": "ok",
            "reason": "answer",
            "output": "done",
            "ended_at": NOW + timedelta(seconds=5),
            **fields,
        }
    )


def check(run_id: str = "run", **fields: Any) -> BudgetCheck:
    return BudgetCheck(
        **{
            "run_id": run_id,
            "workflow_run_id": f"{run_id}-first",
            "caller_id": "alice",
            "agent_id": "agent",
            "seconds": 0,
            "expires_at": NOW + timedelta(seconds=120),
            **fields,
        }
    )


def call(run_id: str = "run", step: str = "m1", attempt: int = 1, **fields: Any) -> BudgetCall:
    base = {"run_id": run_id, "step_id": step, "attempt": attempt, "tokens": 0, "micro_usd": 0}
    return BudgetCall(**{**base, **fields})


def meter(run_id: str = "run", step: str = "m1", attempt: int = 1, **fields: Any) -> BudgetMeter:
    base = {"run_id": run_id, "step_id": step, "attempt": attempt, "tokens": 0, "micro_usd": 0}
    return BudgetMeter(**{**base, **fields})
