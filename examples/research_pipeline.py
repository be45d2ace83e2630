"""A research pipeline: plan, search through a sub-agent, check if possible, write.

    python examples/research_pipeline.py

Each phase has a prompt, a tier and tools of its own, and sees of the earlier ones only what its
prompt names. The searching phase hands each point to a reader, which is a child run: its own
workflow, capped by what its parent has left, its tokens counted in the parent's result. The check
is optional: offline its model is missing on purpose, and the pipeline goes on without it.
"""

import asyncio

from host import host, show

from executus import Invocation, RunnableAgent, RunRequest
from executus.cli.exit import leave
from executus.models.provider import ModelRequest
from executus.models.scripted import Reply, Script, call, calls, fail, say
from executus.phase import Phase
from executus.tools import tool

SHELF = {
    "tides": "Tides follow the Moon: two high waters in 24 hours and 50 minutes.",
    "harbours": "Old harbours dry out twice a day, so ships sailed on the ebb.",
    "bread": "Sourdough rises for twelve hours.",
}


@tool(effect="pure")
def search_shelf(words: str) -> list[str]:
    """Find notes that hold any of some words."""
    wanted = words.lower().split()
    return [text for text in SHELF.values() if any(word in text.lower() for word in wanted)]


READER = RunnableAgent(
    name="reader",
    description="Finds what the shelf says about one point.",
    system_prompt="Search the shelf and quote what fits, nothing else.",
    tools=("search_shelf",),
    max_iterations=4,
)
RESEARCHER = RunnableAgent(
    name="researcher",
    sub_agents=("reader",),
    max_runtime=300,
    phases=(
        Phase(
            name="Plan",
            bare=True,  # one single call, no tools
            system_prompt="Name two points that have to be looked up to answer, one a line.",
        ),
        Phase(
            name="Search",
            max_iterations=6,
            system_prompt="Hand each point to the reader, then list what came back:\n{{Plan}}",
        ),
        Phase(
            name="Check",
            optional=True,
            fallback="(nobody checked this)",
            bare=True,
            system_prompt="Say which of these notes do not bear on {{Query}}\n{{Search}}",
        ),
        Phase(
            name="Write",
            model_tier="thinking",
            bare=True,
            system_prompt="Answer in two sentences, from these notes only:\n{{Search}}\n{{Check}}",
        ),
    ),
)


def model_offline(request: ModelRequest) -> Reply:
    """Every part of the tier `fast`, told apart by its instructions."""
    turn = sum(wire.message.role == "assistant" for wire in request.messages)
    asked = request.messages[-1].message
    if request.system_prompt.startswith("Name two points"):
        return say("tides of the Moon\nharbours and ebb")
    if request.system_prompt.startswith("Say which"):
        return fail("not_found", "the checker's model is gone, for the example")
    if request.system_prompt.startswith("Search the shelf"):
        notes = "".join(part.text for part in asked.parts if part.type == "tool_result")
        return say(notes) if turn else call("search_shelf", words=asked.text.split()[-1])
    points = [{"prompt": line} for line in ("tides of the Moon", "harbours and ebb")]
    if turn == 0:  # both readers run at the same time
        return calls(*(("agent__reader", point) for point in points))
    return say("\n".join(part.text for part in asked.parts if part.type == "tool_result"))


WRITER = [say("Ships left on the ebb, because old harbours dry out. The Moon sets the hour.")]


async def main() -> int:
    """One question through all four phases."""
    script: dict[str, Script] = {"fast": model_offline, "thinking": WRITER}
    async with host(
        "research_pipeline", agents=[RESEARCHER, READER], tools=[search_shelf], script=script
    ) as here:
        invocation = Invocation(prompt="Why did ships sail at odd hours?", caller_id="you")
        result = await here.runs.run(RunRequest(agent="researcher", invocation=invocation))
        code = show(result)
        print(f"children  {result.descendants}")
        return code


if __name__ == "__main__":
    leave(asyncio.run(main()))
