"""executus with audit and budget; BENCH_DATABASE is the URL of a migrated database.

A module of its own: SQLAlchemy takes a third of a second of a worker's start, which one without
records does not pay.
"""

import os
from dataclasses import replace

from bench.systems import Setup, executus_system
from executus.budget import Currency
from executus.ports import Ports
from executus.stores.caps import CapChange
from executus.stores.database import Database
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget

CAPS: tuple[tuple[str, Currency], ...] = (("caller:*", "micro_usd"), ("agent:*", "tokens"))
"""What is capped, so high that it never refuses."""


def setup(name: str, url: str) -> Setup:
    database = Database(os.environ["BENCH_DATABASE"])
    ports = Ports(audit=SqlAudit(database), budget=SqlBudget(database))
    made = executus_system.setup(name, url, ports)

    async def close() -> None:
        if made.close is not None:
            await made.close()
        await database.close()

    return replace(made, close=close)


async def fresh(url: str) -> Database:
    """An empty database for runs that are recorded, with caps that each call has to pass."""
    database = Database(url, auto_migrate=True)
    for scope, currency in CAPS:
        await SqlBudget(database).set_cap(CapChange(scope, "day", currency, 1e12))
    return database
