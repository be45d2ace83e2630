"""A long migration: one run over several Temporal executions, watched and spoken to on the way.

    python examples/long_migration.py

Each table is a step of its own. After 60 history events (by default some 4,100) the run continues
as a new execution: same id, deadline, spend and steps, as if nothing had been. While it works,
somebody says that one table must stay where it is; the agent hears it before its next turn. One
table waits for a lock and says nothing for 5 s: the critic sees the silence, gives the run more
time, and has the agent tell of it. It would end a run that kept being silent.
"""

import asyncio
from collections.abc import AsyncIterator

from host import Host, host, show

from executus import Defaults, Invocation, RunnableAgent, RunRequest
from executus.cli.exit import leave
from executus.critic import CriticConfig
from executus.critic_view import CriticDecision, CriticSubject, CriticView
from executus.models.provider import ModelRequest
from executus.models.scripted import Say, call, say
from executus.ports import Ports
from executus.tools import ToolContext, tool

TABLES = (
    *("users", "teams", "orders", "order_lines", "invoices", "payments"),
    *("refunds", "parcels", "returns", "reviews", "sessions", "audit_log"),
)
LOCKED, LAST = "payments", TABLES[-1]


@tool(effect="idempotent", timeout=30.0)
async def migrate(table: str, context: ToolContext) -> str:
    """Copy one table into the new database."""
    if table == LOCKED:
        await asyncio.sleep(5)  # somebody's report holds a lock
    for share in (50, 100):
        context.heartbeat(f"{table}: {share} %")  # a worker that dies is noticed, not waited for
        await asyncio.sleep(0.05)
    return f"{table}: done"


class Foreman:
    """Our own critic: it asks no model. `watchdog` and `judge` come along (docs/critic.md)."""

    async def watches(self, subject: CriticSubject) -> bool:
        """The migrator's runs."""
        return subject.agent_id == "migrator"

    async def decide(self, view: CriticView) -> CriticDecision:
        """More time while there is some, and a word about it in the report; then an end."""
        doing = view.state.steps[-1].summary
        if not view.extensions_left:
            return CriticDecision(kill=f"{doing}: silent once too often")
        nudge = f"{doing} took long: say so in your report."
        return CriticDecision(extend=view.extend_seconds, nudge=nudge)


MIGRATOR = RunnableAgent(
    name="migrator",
    system_prompt="Migrate the tables one by one, in the order given, with one call per turn. "
    "If somebody asks to keep a table, leave it out. In the end say which you moved.",
    tools=("migrate",),
    max_iterations=40,
    max_runtime=900,
    critic=CriticConfig(kind="foreman", idle_seconds=3, extensions=2),
)


def model_offline(request: ModelRequest) -> Say:
    """Go through the tables; heed what people and the critic say."""
    messages = [wire.message for wire in request.messages]
    moved = sum(len(message.tool_calls) for message in messages)
    heard = " ".join(message.text for message in messages if message.role == "user")
    kept = f"keep {LAST}" in heard
    todo = [table for table in TABLES if not (kept and table == LAST)]
    if moved < len(todo):
        return call("migrate", table=todo[moved])
    report = [f"Moved {moved} tables", f"{LAST} stays where it is" if kept else ""]
    report.append(f"{LOCKED} took long" if "took long" in heard else "")
    return say(f"{'; '.join(filter(None, report))}.")


async def interrupt(here: Host, run_id: str) -> None:
    """Say something in the middle, and wait until the agent has heard it."""
    while (state := await here.runs.state(run_id)).iteration < 3:
        if state.stage == "closed":  # a real model may be quicker than a word
            return
        await asyncio.sleep(0.1)
    receipt = await here.runs.steer_and_wait(run_id, f"Please keep {LAST} here.", by="ann")
    heard = f"heard in turn {receipt.iteration}" if receipt.delivered else receipt.why
    print(f"  steered: {heard}")


async def executions(here: Host, run_id: str) -> AsyncIterator[int]:
    """Sizes of the histories that the run went through, the newest first."""
    execution: str | None = None
    while execution != "":
        handle = here.client.get_workflow_handle(run_id, run_id=execution)
        events = (await handle.fetch_history()).events
        yield len(events)
        started = events[0].workflow_execution_started_event_attributes
        execution = started.continued_execution_run_id


async def main() -> int:
    """All tables but one."""
    async with host(
        "long_migration",
        agents=[MIGRATOR],
        tools=[migrate],
        ports=Ports(critic=Foreman()),
        defaults=Defaults(history_events=60),
        script={"fast": model_offline},
    ) as here:
        prompt = f"Migrate these tables: {', '.join(TABLES)}."
        invocation = Invocation(prompt=prompt, caller_id="ann")
        handle = await here.runs.start(RunRequest(agent="migrator", invocation=invocation))
        await interrupt(here, handle.id)
        code = show(await here.runs.result(handle.id))
        sizes = [size async for size in executions(here, handle.id)]
        print(f"executions {len(sizes)}, of {', '.join(map(str, reversed(sizes)))} events")
        return code


if __name__ == "__main__":
    leave(asyncio.run(main()))
