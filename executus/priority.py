"""Priority of a run's tasks, from who asks (Temporal's priority and fairness, server 1.29 on)."""

from temporalio.common import Priority

from executus.digest import digest
from executus.invocation import Invocation

MAX_FAIRNESS_KEY = 64
"""Bytes that Temporal takes (temporalio.common.Priority)."""


def priority_of(invocation: Invocation) -> Priority:
    """The invocation's priority; callers of one tenant share, tenants take turns.

    Activities and child runs inherit it.
    """
    name = invocation.tenant_id or invocation.caller_id
    key = name if len(name.encode()) <= MAX_FAIRNESS_KEY else digest(name.encode())
    return Priority(priority_key=invocation.priority, fairness_key=key)
