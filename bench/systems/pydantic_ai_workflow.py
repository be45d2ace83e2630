"""The Pydantic AI workflow of the comparison."""

from pydantic_ai import UsageLimits
from pydantic_ai.durable_exec.temporal import PydanticAIWorkflow
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from bench.systems.pydantic_ai_agent import agent


@workflow.defn(name="PydanticAIRun")
class PydanticAIRun(PydanticAIWorkflow):
    __pydantic_ai_agents__ = [agent]  # noqa: RUF012 - as its documentation shows it

    @workflow.run
    async def run(self, prompt: str) -> str:
        result = await agent.run(prompt, usage_limits=UsageLimits(request_limit=None))
        return result.output
