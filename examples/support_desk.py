"""A support desk: money moves only after a person's yes, and the outcome goes to a file.

    python examples/support_desk.py

The agent looks an order up and asks for a refund. The refund tool is marked `requires_approval`, so
the run pauses; this program puts the question to whoever sits at the terminal (offline, or without
a terminal, it decides by the rule in `decide`). While it waits, the command line can answer too:
`executus approve RUN --list`. Whatever the ending, it is delivered.
"""

import asyncio
import sys
from pathlib import Path

from host import Host, host, show

from executus import DeliveryTarget, Invocation, RunnableAgent, RunRequest
from executus.cli.exit import leave
from executus.delivery import Deliveries, FileDelivery
from executus.models.scripted import call, say
from executus.ports import Ports
from executus.question import Decision, Question
from executus.settings import load_settings
from executus.tools import ToolContext, ToolError, tool

PAID = {"A-17": 49}
"""Order -> dollars."""


@tool(effect="pure")
def find_order(order: str) -> str:
    """Look an order up: item, dollars paid, state."""
    if order not in PAID:
        raise ToolError(f"no order {order!r}")
    return f"{order}: a lamp, {PAID[order]} dollars paid, delivered"


@tool(effect="idempotent", requires_approval=True)
async def refund(order: str, dollars: int, context: ToolContext) -> str:
    """Pay money back for an order."""
    if dollars > PAID.get(order, 0):
        raise ToolError(f"order {order!r}: {PAID.get(order, 0)} dollars were paid")
    # A payment service gets the key: an attempt that is repeated after a crash pays once.
    return f"refunded {dollars} dollars for {order}, receipt {context.idempotency_key[-8:]}"


CLERK = RunnableAgent(
    name="clerk",
    system_prompt="You are a support clerk. Look the order up first. Refund what arrived broken, "
    "in full, then tell the customer in two sentences what you did.",
    tools=("find_order", "refund"),
    max_runtime=600,  # it goes on while people think
)
SCRIPT = [
    call("find_order", order="A-17"),
    call("refund", order="A-17", dollars=49),
    say("I am sorry about the broken lamp. Your 49 dollars are on their way back."),
]


async def decide(question: Question, *, ask: bool) -> bool:
    """Whether a call may be made: as the person here says, else by the desk's own rule."""
    if not ask:
        return question.tool == "refund"
    said = await asyncio.to_thread(input, f"{question.tool} {question.arguments}? [y/N] ")
    return said.strip().lower() in {"y", "yes"}


async def attend(here: Host, run_id: str) -> None:
    """Settle what the run asks, until it has ended."""
    ask = not here.offline and sys.stdin.isatty()
    while (state := await here.runs.state(run_id)).stage != "closed":
        for question in state.questions:
            may = await decide(question, ask=ask)
            print(f"  {'approved' if may else 'denied'}: {question.tool} {question.arguments}")
            # The digest is that of exactly this call: the yes counts for no other.
            decision = Decision(step_id=question.step_id, digest=question.digest, by="the desk")
            await (here.runs.approve if may else here.runs.deny)(run_id, decision)
        await asyncio.sleep(0.1)


async def main() -> int:
    """One customer, one order."""
    folder = load_settings().data_dir / "delivered"
    ports = Ports(delivery=Deliveries({"file": FileDelivery(folder)}))
    async with host(
        "support_desk",
        agents=[CLERK],
        tools=[find_order, refund],
        ports=ports,
        script={"fast": SCRIPT},
    ) as here:
        invocation = Invocation(
            prompt="My lamp arrived broken. The order is A-17.",
            caller_id="customer-4",
            delivery=DeliveryTarget(kind="file"),
        )
        handle = await here.runs.start(RunRequest(agent="clerk", invocation=invocation))
        await attend(here, handle.id)
        code = show(await here.runs.result(handle.id))
        print(f"delivered {Path(folder, f'{handle.id}.json')}")
        return code


if __name__ == "__main__":
    leave(asyncio.run(main()))
