"""`executus agents`: the agents of a host, where each is from, and what is wrong with it."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import click

from executus.activities.conversation import Conversations
from executus.activities.host import Host
from executus.activities.human import ASK_HUMAN
from executus.activities.resolve import Resolve
from executus.activities.watchers import unknown_critic
from executus.agent import RunnableAgent
from executus.agents import Entry
from executus.cli import exit as codes
from executus.cli.compose import agents_option, app_option, compose, load_app, with_agents
from executus.cli.text import LINE
from executus.contracts import ResolveInput
from executus.errors import ConfigError
from executus.mcp import McpServer
from executus.mcp.names import reference
from executus.plugin import ExecutusPlugin
from executus.sanitize import clean_line
from executus.settings import load_settings
from executus.tools import Tool
from executus.tools.caller import Caller, safe_for
from executus.yaml_text import dump_yaml

PROMPT = "system_prompt"
ANYBODY = "anonymous"
"""The caller that agents are checked for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose agents: the options of the group, for the commands below it."""

    app: str | None
    folders: tuple[Path, ...]

    def plugin(self) -> ExecutusPlugin:
        """The host; it may not be whole."""
        settings = with_agents(load_settings(), self.folders)
        found = load_app(self.app, settings) if self.app is not None else compose(settings)
        return found.plugin  # nothing of it was opened, so there is nothing to close


@click.group(invoke_without_command=True)
@app_option
@agents_option
@click.option("--json", "as_json", is_flag=True, help="One agent a line, as JSON.")
@click.pass_context
def agents(
    context: click.Context, *, app: str | None, folders: tuple[Path, ...], as_json: bool
) -> int:
    """List the agents of this host: those of --app or the demo, and those of the folders.

    Exits with 1 when one of them has a problem: its file is broken, or it names a tool or a model
    that this host does not have.
    """
    context.obj = Asked(app, folders)
    if context.invoked_subcommand is not None:
        return codes.OK
    plugin = context.obj.plugin()
    sound = True
    for entry in plugin.catalogue.entries:
        problems = problems_of(entry, plugin.host)
        sound = sound and not problems
        click.echo(_as_json(entry, problems) if as_json else _as_text(entry, problems, plugin.host))
    return codes.OK if sound else codes.FAILED


@agents.command()
@click.argument("name", type=LINE)
@app_option
@agents_option
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of Markdown.")
@click.pass_obj
def show(
    asked: Asked, *, name: str, app: str | None, folders: tuple[Path, ...], as_json: bool
) -> int:
    """Print the agent NAME as it runs, with what it inherits: a valid agent file."""
    plugin = Asked(app or asked.app, folders or asked.folders).plugin()
    entry = plugin.catalogue.find(name)
    if entry is None:
        known = ", ".join(sorted(plugin.catalogue.agents)) or "none"
        raise ConfigError(f"unknown agent `{name}`; known agents: {known}")
    if entry.agent is None:
        raise ConfigError(entry.problem or f"{entry.source}: no agent")
    above = "".join(f", extends {parent}" for parent in entry.extends)
    click.echo(f"{entry.source}{above}", err=True)
    for problem in problems_of(entry, plugin.host):
        click.echo(f"PROBLEM {problem}", err=True)
    shown = entry.agent.model_dump(mode="json", exclude_defaults=True)
    click.echo(json.dumps(shown, ensure_ascii=False) if as_json else markdown(shown))
    return codes.OK


def markdown(fields: dict[str, object]) -> str:
    """The fields as front matter, the prompt as the body."""
    head = {key: value for key, value in fields.items() if key != PROMPT}
    return f"---\n{dump_yaml(head)}---\n\n{fields.get(PROMPT, '')}".rstrip()


def problems_of(entry: Entry, host: Host) -> tuple[str, ...]:
    """What would keep the agent from running as it says on this host, whoever asks."""
    agent = entry.agent
    if agent is None:
        return (entry.problem or "no agent",)
    refusal = asyncio.run(_refusal(agent, host))
    absent = unknown_critic(host, agent.critic.kind) if agent.critic else None
    return (
        *_tool_problems(agent, host),
        *([f"nobody would watch it: {absent}"] if absent else []),
        *([refusal] if refusal else []),
    )


async def _refusal(agent: RunnableAgent, host: Host) -> str | None:
    """What a run of it would be refused for, but for some tools.

    Some are for certain callers only, and a server of others may not run now.
    """
    caller = Caller(caller_id=ANYBODY, agent_id=agent.identity)
    tools = {name: host.tools.get(name) for name in agent.tools}
    mine = tuple(
        name
        for name, tool in tools.items()
        if name == ASK_HUMAN or (tool is not None and tool.admits(caller, agent.visibility))
    )
    if mine != agent.tools:  # its phases may name what is left out now
        agent = agent.model_copy(update={"tools": mine, "phases": ()})
    asked = ResolveInput(agent=agent, caller_id=ANYBODY)
    try:
        resolved = await Resolve(host, Conversations()).resolve(asked)
    except Exception as error:  # noqa: BLE001 - a palette of the host's own: whatever it raises
        return clean_line(f"could not be planned: {type(error).__name__}: {error}", 500)
    return resolved.refusal.message if resolved.refusal is not None else None


def _found(name: str, host: Host) -> Tool | McpServer | None:
    """What an agent means by `name`; of a server's tool the server, which need not be running."""
    wanted = reference(name)
    return host.tools.get(name) if wanted is None else host.mcp.servers.get(wanted.server)


def _tool_problems(agent: RunnableAgent, host: Host) -> list[str]:
    tools = {name: _found(name, host) for name in agent.tools if name != ASK_HUMAN}
    unknown = ", ".join(name for name, tool in tools.items() if tool is None)
    narrow = ", ".join(
        name
        for name, tool in tools.items()
        if tool is not None and not safe_for(tool.visibility, agent.visibility)
    )
    found: list[str] = []
    if unknown:
        servers = (f"mcp:{name}" for name in host.mcp.servers)
        known = ", ".join(sorted([ASK_HUMAN, *(tool.name for tool in host.tools), *servers]))
        found.append(f"unknown tools: {unknown}; tools of this host: {known}")
    if narrow:
        found.append(f"tools not meant for {agent.visibility} agents: {narrow}")
    return found


def _names(agent: RunnableAgent) -> dict[str, list[str]]:
    """Its lists of names: tools and whatever else an agent may call on."""
    dumped = agent.model_dump(mode="json")
    return {
        name: dumped[name]
        for name, field in RunnableAgent.model_fields.items()
        if field.annotation == tuple[str, ...]
    }


def _as_text(entry: Entry, problems: tuple[str, ...], host: Host) -> str:
    agent = entry.agent
    above = "".join(f" < {parent}" for parent in entry.extends)
    lines = [f"{entry.name or '-'}{above}  {entry.source}"]
    if agent is not None:
        tier = agent.model_tier or f"{host.defaults.model_tier} (default)"
        lines[0] = f"{entry.name}{above}  id {agent.identity}  tier {tier}  {entry.source}"
        uses = _names(agent)
        lines += [f"    {name}: {', '.join(items)}" for name, items in uses.items() if items]
    return "\n".join([*lines, *(f"    PROBLEM {problem}" for problem in problems)])


def _as_json(entry: Entry, problems: tuple[str, ...]) -> str:
    agent = entry.agent
    shown: dict[str, object] = {"name": entry.name, "source": entry.source}
    if agent is not None:
        shown |= {"id": agent.identity, "tier": agent.model_tier, **_names(agent)}
    shown |= {"extends": entry.extends, "problems": problems}
    return json.dumps(shown, ensure_ascii=False)
