"""Delegates: the agents that an agent may hand work to, as tools of its plan."""

import re
from collections.abc import Collection

from pydantic import JsonValue

from executus.agent import RunnableAgent
from executus.digest import digest
from executus.errors import ConfigError
from executus.limits import Defaults
from executus.palette import PaletteAsk
from executus.plan import ToolDef
from executus.ports import Palette
from executus.sanitize import clean_text

AGENT_PREFIX, SKILL_PREFIX = "agent__", "skill__"
MAX_TOOL_NAME = 64
"""Characters that OpenAI and Anthropic accept."""
PROMPT = "What to do, with all there is to know: the agent sees nothing of this conversation."


class UnknownAgents(ConfigError):
    """Names that no palette entry has."""


class ClashingTools(ConfigError):
    """A tool of the agent has the name of one of its delegates."""


async def delegates(
    agent: RunnableAgent,
    palette: Palette,
    ask: PaletteAsk,
    *,
    defaults: Defaults,
    result_bytes: int,
    taken: Collection[str],
) -> tuple[ToolDef, ...]:
    """One tool a delegate, in the order given.

    Empty names are left out, and so is the second of two that would be the same tool: the seed
    failed the whole run over either.

    Raises:
        UnknownAgents: the palette does not have one.
        ClashingTools: its name is taken.
    """
    made: dict[str, ToolDef] = {}
    unknown: list[str] = []
    listed = [(AGENT_PREFIX, n) for n in agent.sub_agents] + [
        (SKILL_PREFIX, n) for n in agent.skills
    ]
    for prefix, name in listed:
        if not name.strip():
            continue
        found = await palette.find(name, ask)
        if found is None:
            unknown.append(name)
            continue
        tool = _tool(prefix, name, _bounded(found, defaults), result_bytes)
        made.setdefault(tool.name, tool)
    if unknown:
        known = ", ".join(await palette.names(ask)) or "none"
        names = ", ".join(repr(name) for name in unknown)
        text = f"sub_agents and skills: unknown agent {names}; registered: {known}; "
        raise UnknownAgents(text + "correct the name, or register the agent on the worker")
    if clash := sorted(made.keys() & set(taken)):
        raise ClashingTools(f"a tool and a delegate are both called {', '.join(clash)}: rename one")
    return tuple(made.values())


def _bounded(agent: RunnableAgent, defaults: Defaults) -> RunnableAgent:
    """With concrete bounds where the parent's remaining time and money have to be compared."""
    limits = agent.limits.model_copy(
        update={
            "tokens": agent.limits.tokens or defaults.tokens,
            "micro_usd": agent.limits.micro_usd or defaults.micro_usd,
        }
    )
    runtime = agent.max_runtime or defaults.max_runtime
    return agent.model_copy(update={"limits": limits, "max_runtime": runtime})


def _tool(prefix: str, name: str, agent: RunnableAgent, result_bytes: int) -> ToolDef:
    parameters = parameters_of(agent, skill=prefix == SKILL_PREFIX)
    text = clean_text(agent.description) or f"Hand work to the agent {agent.name}."
    whole = f"{prefix}{name}\n{agent.model_dump_json()}"
    return ToolDef(
        name=tool_name(prefix, name),
        description=text,
        parameters=parameters,
        digest=digest(whole.encode()),
        timeout=agent.max_runtime or 1.0,
        result_bytes=result_bytes,
        agent=agent,
    )


def tool_name(prefix: str, name: str) -> str:
    """A name that providers accept: what they do not is `_`, what is too long ends in a digest."""
    safe = prefix + re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if len(safe) <= MAX_TOOL_NAME:
        return safe
    return f"{safe[: MAX_TOOL_NAME - 9]}_{digest(name.encode())[:8]}"


def parameters_of(agent: RunnableAgent, *, skill: bool) -> dict[str, JsonValue]:
    """JSON schema of the arguments: a skill's are its inputs, an agent's a prompt and inputs."""
    if skill and agent.input_schema is not None:
        return agent.input_schema
    prompt: JsonValue = {"type": "string", "minLength": 1, "description": PROMPT}
    inputs: JsonValue = agent.input_schema or {"type": "object", "description": "Named values."}
    required: list[JsonValue] = ["prompt", "inputs"] if agent.input_schema else ["prompt"]
    return {
        "type": "object",
        "properties": {"prompt": prompt, "inputs": inputs},
        "required": required,
        "additionalProperties": False,
    }
