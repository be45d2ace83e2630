"""Whether the records of a bench's runs are whole: every chain, every close, every token."""

from executus.audit import AuditEntry
from executus.stores.database import Database
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget


async def problems(database: Database, scope: str, statuses: dict[str, int]) -> list[str]:
    """What does not hold. `statuses` says how many runs ended how; `scope` is their caller's."""
    audit, budget = SqlAudit(database), SqlBudget(database)
    records, proof = await audit.runs(limit=10_000), await audit.verify()
    found = [f"{broken.run_id}: {broken.what}" for broken in proof.breaks]
    counted: dict[str, int] = {}
    for record in records:
        counted[record.status or "open"] = counted.get(record.status or "open", 0) + 1
        if (record.n_close, record.closed_by) != (1, "run"):
            found.append(f"{record.run_id}: {record.n_close} closes, by {record.closed_by}")
        if await budget.hold(record.run_id) is not None:
            found.append(f"{record.run_id}: its hold is still there")
    if counted != statuses:
        found.append(f"recorded {counted} of {statuses}")
    uses = await budget.show(scope)
    [used] = [use for use in uses if (use.window, use.currency) == ("total", "tokens")]
    recorded = sum([_tokens(entry) for run in records for entry in await audit.rows(run.run_id)])
    if (used.settled, used.reserved) != (recorded, 0):
        found.append(f"{used.settled} tokens settled, {used.reserved} held, {recorded} recorded")
    return found


def _tokens(entry: AuditEntry) -> int:
    """Tokens of a model's row: input and output, as the provider counted them."""
    usage = entry.body.get("usage") if entry.entry == "row" else None
    return (
        int(usage["input_tokens"]) + int(usage["output_tokens"]) if isinstance(usage, dict) else 0
    )
