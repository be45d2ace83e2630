"""The Pydantic AI agent of the comparison, made once per worker (imported past the sandbox)."""

import os
from datetime import timedelta

from pydantic_ai import Agent
from pydantic_ai.durable_exec.temporal import TemporalDurability
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from temporalio.workflow import ActivityConfig

from bench.work import MODEL, SYSTEM_PROMPT, page_text

_PROVIDER = OpenAIProvider(base_url=os.environ["OPENAI_BASE_URL"], api_key="none")
_CONFIG = ActivityConfig(start_to_close_timeout=timedelta(seconds=60))
agent = Agent(
    OpenAIResponsesModel(MODEL, provider=_PROVIDER),
    name="bench",
    system_prompt=SYSTEM_PROMPT,
    capabilities=[TemporalDurability(activity_config=_CONFIG)],
)


@agent.tool_plain
async def page(number: int, size: int) -> str:
    """A page of text."""
    return page_text(number, size)
