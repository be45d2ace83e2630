"""executus with ordinary tools, with a local one, or with audit and budget; else no port is wired.

BENCH_WINDOW is the model's context window, for runs that are to fold; BENCH_TOOL_QUEUE puts the
tool on a queue that nobody serves, for runs that are to stand still; BENCH_DATABASE is the URL of a
migrated database, for runs that are recorded.
"""

import os
from typing import Any

from bench.systems import LOCAL, RECORDS, Setup
from bench.work import MODEL, TOOL_DOC, TOOL_NAME, page_text
from executus.budget import Currency
from executus.models.openai_responses import OpenAIResponses
from executus.models.registry import Models
from executus.plugin import ExecutusPlugin
from executus.ports import Ports
from executus.stores.caps import CapChange
from executus.stores.database import Database
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from executus.tools import Tool, tool

CAPS: tuple[tuple[str, Currency], ...] = (("caller:*", "micro_usd"), ("agent:*", "tokens"))
"""What is capped when runs are recorded, so high that it never refuses."""


async def page(number: int, size: int) -> str:
    return page_text(number, size)


def setup(name: str, url: str) -> Setup:
    provider = OpenAIResponses(api_key="none", base_url=url)
    window = os.environ.get("BENCH_WINDOW")
    windows = {f"openai/{MODEL}": int(window)} if window else None
    models = Models({"fast": f"openai/{MODEL}"}, providers=[provider], windows=windows)
    database = Database(os.environ["BENCH_DATABASE"]) if name == RECORDS else None
    plugin = ExecutusPlugin(tools=[_tool(name)], models=models, ports=_ports(database))

    async def close() -> None:
        await models.close()
        if database is not None:
            await database.close()

    return Setup(plugins=[plugin], close=close)


async def fresh(url: str) -> Database:
    """An empty database for runs that are recorded, with caps that each call has to pass."""
    database = Database(url, auto_migrate=True)
    for scope, currency in CAPS:
        await SqlBudget(database).set_cap(CapChange(scope, "day", currency, 1e12))
    return database


def _ports(database: Database | None) -> Ports:
    if database is None:
        return Ports()
    return Ports(audit=SqlAudit(database), budget=SqlBudget(database))


def _tool(name: str) -> Tool[..., str]:
    """Async, as in the other systems: none of them pays for a thread."""
    options: dict[str, Any] = {"local": True} if name == LOCAL else {}
    if queue := os.environ.get("BENCH_TOOL_QUEUE"):
        options = {"task_queue": queue}
    return tool(name=TOOL_NAME, description=TOOL_DOC, effect="pure", **options)(page)
