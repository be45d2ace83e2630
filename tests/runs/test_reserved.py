"""What a call may cost is reserved before it is made: all that is sent counts."""

from executus import Status
from executus.models.scripted import say
from executus.ports import Ports
from executus.stores.caps import CapChange
from executus.stores.memory import MemoryAudit, MemoryBudget
from executus.tools import Tool, tool

from .kit import kit


def wordy(number: int) -> Tool:
    @tool(effect="pure", name=f"t{number}", description="word " * 800)
    async def made() -> str:
        return "x"

    return made


async def test_what_tools_say_of_themselves_is_reserved(env):
    budget = MemoryBudget(unlimited_by_default=True)
    await budget.set_cap(CapChange("caller:ann", "day", "tokens", 5_000))
    tools = [wordy(number) for number in range(40)]
    audit = MemoryAudit()
    async with kit(env, tools=tools, ports=Ports(audit=audit, budget=budget)) as k:
        names = tuple(each.name for each in tools)
        out = await k.run([say("never")], tools=names, limits={"max_output_tokens": 1_000})
        assert out.result.status is Status.BUDGET_EXCEEDED
        assert out.result.usage.model_calls == 0
        assert await budget.overruns() == []
        closed = await audit.run(out.result.run_id)
        assert closed is not None
        assert (closed.n_close, closed.status) == (1, "budget_exceeded")
        assert budget._holds[out.result.run_id].settled
