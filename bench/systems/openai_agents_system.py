"""The OpenAI Agents SDK's Temporal plugin, as its documentation shows it, one client, no traces."""

from datetime import timedelta

from agents import OpenAIProvider, set_tracing_disabled
from openai import AsyncOpenAI
from temporalio.openai_agents import ModelActivityParameters, OpenAIAgentsPlugin

from bench.systems import Setup
from bench.systems.openai_agents_workflow import OpenAIAgentsRun, page


def setup(_name: str, url: str) -> Setup:
    set_tracing_disabled(True)
    client = AsyncOpenAI(api_key="none", base_url=url, max_retries=0)
    plugin = OpenAIAgentsPlugin(
        model_params=ModelActivityParameters(start_to_close_timeout=timedelta(seconds=60)),
        model_provider=OpenAIProvider(openai_client=client),
    )
    return Setup(plugins=[plugin], workflows=[OpenAIAgentsRun], activities=[page])
