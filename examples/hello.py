"""Hello: one agent, one tool, one run.

    python examples/hello.py

Without a key a script plays the model; with ANTHROPIC_API_KEY or OPENAI_API_KEY a real one does the
same work. Temporal is the one that TEMPORAL_ADDRESS names, or one that starts in this folder.
"""

import asyncio
import sys
from datetime import UTC, datetime, timedelta

from host import host, show

from executus import Invocation, RunnableAgent, RunRequest
from executus.cli.exit import leave
from executus.models.provider import ModelRequest
from executus.models.scripted import Say, call, say
from executus.tools import ToolError, tool

HOURS_FROM_UTC = {"Lisbon": 0, "Oslo": 1, "Nairobi": 3, "Tokyo": 9}


@tool(effect="pure")
def local_hour(city: str) -> str:
    """Tell what the clock of a city shows, in standard time.

    Args:
        city: Its English name.
    """
    if city not in HOURS_FROM_UTC:
        # An error is an answer too: the model reads it, and may try something else.
        raise ToolError(f"no clock for {city!r}; known: {', '.join(HOURS_FROM_UTC)}")
    return f"{datetime.now(UTC) + timedelta(hours=HOURS_FROM_UTC[city]):%H:%M}"


GREETER = RunnableAgent(
    name="greeter",
    system_prompt="Look up the hour of the city, then greet its people as fits the time of day.",
    tools=("local_hour",),
    max_iterations=6,
    max_runtime=60,
)


def model_offline(request: ModelRequest) -> Say:
    """What the model says without a key: it asks for the hour, then greets by it."""
    last = request.messages[-1].message
    if last.role == "user":
        return call("local_hour", city=last.text.rpartition(" ")[2].rstrip("."))
    hour = "".join(part.text for part in last.parts if part.type == "tool_result")
    day = "Good morning" if hour < "12:00" else "Good day" if hour < "18:00" else "Good evening"
    return say(f"{day}! Your clocks show {hour}.")


async def main(city: str = "Oslo") -> int:
    """Run it once, and show what it did."""
    async with host(
        "hello", agents=[GREETER], tools=[local_hour], script={"fast": model_offline}
    ) as here:
        invocation = Invocation(prompt=f"Greet the people of {city}.", caller_id="you")
        return show(await here.runs.run(RunRequest(agent="greeter", invocation=invocation)))


if __name__ == "__main__":
    leave(asyncio.run(main(*sys.argv[1:2])))  # the one safe way out: see executus/cli/exit.py
