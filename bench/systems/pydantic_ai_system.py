"""Pydantic AI's Temporal integration, as its documentation shows it, model objects made once."""

import os

from bench.systems import Setup


def setup(_name: str, url: str) -> Setup:
    os.environ["OPENAI_BASE_URL"] = url  # read when the agent's module is imported, just below
    from pydantic_ai.durable_exec.temporal import PydanticAIPlugin  # noqa: PLC0415

    from bench.systems.pydantic_ai_workflow import PydanticAIRun  # noqa: PLC0415

    return Setup(plugins=[PydanticAIPlugin()], workflows=[PydanticAIRun])
