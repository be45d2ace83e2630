"""`executus run`: one agent run, watched."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from executus.agent import RunnableAgent
from executus.agents import is_agent_file, load_agent, load_catalogue
from executus.agents.declared import IN_CODE
from executus.cli import log
from executus.cli.attach import read_attachments
from executus.cli.checked import checked
from executus.cli.compose import agents_option, with_agents
from executus.cli.session import Order, execute
from executus.cli.text import ANY_TEXT, ID, TEXT
from executus.delivery_target import DeliveryTarget
from executus.demo.agent import folder_agent
from executus.errors import ConfigError
from executus.settings import load_settings

LOG_FILE = "run.log"
PRIORITY = click.option(
    "--priority", type=click.IntRange(1, 5), help="1 goes first, 5 last; 3 by default."
)


@click.command()
@click.argument("prompt", required=False, type=ANY_TEXT)
@click.option(
    "--agent", metavar="FILE|NAME", type=TEXT, help="Agent file, or the name of a known agent."
)
@agents_option
@click.option(
    "--model", metavar="SPEC", type=TEXT, help="Tier or provider/model instead of the agent's."
)
@click.option("--json", "as_json", is_flag=True, help="Print one RunResult as JSON on stdout.")
@click.option(
    "--id", "run_id", metavar="ID", type=ID, help="Run id; without PROMPT, follow that run."
)
@click.option("--max-runtime", type=float, metavar="S", help="Seconds the run may take.")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that the demo agent's tools may read.",
)
@click.option(
    "--file",
    "attach",
    multiple=True,
    metavar="PATH",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File for the agent; up to 32 times, and 32 images. Images are shown, other files read.",
)
@click.option(
    "--deliver",
    metavar="KIND[:ADDRESS]",
    type=TEXT,
    help="Where the outcome goes too: stdout, file, file:NAME.jsonl, webhook:NAME, webhook:URL.",
)
@click.option(
    "--caller", default="cli", show_default=True, metavar="ID", type=ANY_TEXT, help="Who asks."
)
@PRIORITY
def run(
    *,
    prompt: str | None,
    agent: str | None,
    folders: tuple[Path, ...],
    model: str | None,
    as_json: bool,
    run_id: str | None,
    max_runtime: float | None,
    folder: Path | None,
    attach: tuple[Path, ...],
    deliver: str | None,
    caller: str,
    priority: int | None,
) -> int:
    """Run an agent on PROMPT and show what it does; the answer goes to stdout.

    Without --agent, the demo agent answers from the files of a folder. With workers on the task
    queue they do the work; otherwise this process does. Ctrl-C stops the run and shows what it
    has; a second Ctrl-C does not wait for that. SIGTERM leaves the run going.

    Exit code: 0 the run's status is ok, 1 any other status, 2 a wrong call, 130 Ctrl-C, 143
    SIGTERM.
    """
    if prompt is None and run_id is None:
        raise click.UsageError("give a PROMPT, or --id to follow a run")
    if prompt is not None and not prompt.strip() and not attach:
        raise click.UsageError("PROMPT is empty; is a variable not set?")
    if prompt is None and attach:
        raise click.UsageError("--file needs a PROMPT: a run gets its files when it starts")
    if prompt is None and deliver is not None:
        raise click.UsageError("--deliver needs a PROMPT: a run knows from its start where to")
    target = None if deliver is None else parse_target(deliver)
    if as_json and target is not None and target.kind == "stdout":
        raise click.UsageError("--json prints one RunResult and nothing else: not --deliver stdout")
    settings = with_agents(load_settings(), folders)
    order = Order(
        prompt=prompt,
        agent=choose_agent(agent, settings.agents, model_tier=model, max_runtime=max_runtime),
        run_id=run_id,
        caller=caller,
        priority=priority,
        attachments=read_attachments(attach),
        delivery=target,
        folder=folder,
        json=as_json,
    )
    log.to_file(settings.data_dir / LOG_FILE)
    return asyncio.run(execute(order, settings))


def parse_target(text: str) -> DeliveryTarget:
    """The target that `KIND[:ADDRESS]` names.

    Raises:
        ConfigError: it names none.
    """
    kind, _, address = text.partition(":")
    with checked(DeliveryTarget):
        return DeliveryTarget(kind=kind, address=address)


def choose_agent(
    agent: str | None, folders: Sequence[Path] = (), **overrides: object
) -> RunnableAgent | str:
    """The agent of `--agent`, with the options that change it.

    A name is looked for in `folders` first and then sent by value, so any worker that has its
    tools can run it; another name is one that the workers know.

    Raises:
        ConfigError: The file or an option is wrong, or a registered agent should be changed.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    chosen: RunnableAgent | None = folder_agent()
    if agent is not None and is_agent_file(agent):
        chosen = load_agent(Path(agent), folders, [folder_agent()])
    elif agent is not None:
        chosen = _from_folders(agent, folders)
    if chosen is not None:
        return _changed(chosen, given)
    if given:
        msg = (
            f"--agent {agent} is registered on the worker, which owns its settings; "
            "--model and --max-runtime need an agent file"
        )
        raise ConfigError(msg)
    return str(agent)


def _from_folders(name: str, folders: Sequence[Path]) -> RunnableAgent | None:
    entry = load_catalogue(folders, [folder_agent()]).find(name) if folders else None
    if entry is not None and entry.problem is not None:
        raise ConfigError(entry.problem)
    return None if entry is None or entry.source == IN_CODE else entry.agent


def _changed(agent: RunnableAgent, given: dict[str, Any]) -> RunnableAgent:
    with checked(RunnableAgent):
        return RunnableAgent.model_validate(agent.model_dump() | given)
