"""The OpenAI Agents workflow of the comparison."""

from datetime import timedelta

from agents import Agent, RunConfig, Runner
from temporalio import activity, workflow
from temporalio.openai_agents.workflow import activity_as_tool

with workflow.unsafe.imports_passed_through():
    from bench.work import MODEL, SYSTEM_PROMPT, page_text


@activity.defn
async def page(number: int, size: int) -> str:
    """A page of text."""
    return page_text(number, size)


@workflow.defn(name="OpenAIAgentsRun")
class OpenAIAgentsRun:
    @workflow.run
    async def run(self, prompt: str) -> str:
        tools = [activity_as_tool(page, start_to_close_timeout=timedelta(seconds=60))]
        agent = Agent[None](name="bench", instructions=SYSTEM_PROMPT, model=MODEL, tools=tools)
        quiet = RunConfig(tracing_disabled=True)
        result = await Runner.run(agent, prompt, max_turns=100_000, run_config=quiet)
        return str(result.final_output)
