"""`executus fork`: go on from a step of another run, as a new one."""

import asyncio
from pathlib import Path

import click

from executus.cli import log
from executus.cli.compose import agents_option, with_agents
from executus.cli.run import LOG_FILE, choose_agent
from executus.cli.session import Order, execute
from executus.cli.text import ANY_TEXT, ID, NAME, TEXT
from executus.cli.user import user
from executus.errors import ConfigError
from executus.origin import Origin
from executus.settings import load_settings
from executus.steer import MAX_BY


@click.command("fork")
@click.argument("run_id", metavar="RUN", type=ID)
@click.option(
    "--at", metavar="STEP", type=TEXT, help="Up to and including this step's iteration, as m3."
)
@click.option("--agent", metavar="FILE|NAME", type=TEXT, help="Another agent than that run's.")
@agents_option
@click.option(
    "--model", metavar="SPEC", type=TEXT, help="Tier or provider/model instead of the agent's."
)
@click.option("--input", "text", default="", type=ANY_TEXT, help="What to say to the agent next.")
@click.option("--id", "new_id", metavar="ID", type=ID, help="The new run's id.")
@click.option(
    "--caller", metavar="ID", type=ANY_TEXT, help="Who asks; that run's caller by default."
)
@click.option("--as", "by", type=NAME, help="Who you are, for the record; your login by default.")
@click.option("--json", "as_json", is_flag=True, help="Print one RunResult as JSON on stdout.")
def fork(
    *,
    run_id: str,
    at: str | None,
    agent: str | None,
    folders: tuple[Path, ...],
    model: str | None,
    text: str,
    new_id: str | None,
    caller: str | None,
    by: str | None,
    as_json: bool,
) -> int:
    """Start a new run from the conversation of RUN, which may be running, failed or done.

    It has its own id, budget, limits and record, which names where it comes from. Without --input
    a final answer of RUN is left out, and the model answers again.
    """
    if new_id == run_id:
        raise ConfigError(f"--id {new_id} is the run to go on from: a fork is a new run")
    settings = with_agents(load_settings(), folders)
    order = Order(
        prompt=text,
        agent=choose_agent(agent, settings.agents) if agent else None,
        run_id=new_id,
        caller=caller or "",
        folder=None,
        json=as_json,
        origin=_origin(run_id, at, by or user()),
        model=model,
    )
    log.to_file(settings.data_dir / LOG_FILE)
    return asyncio.run(execute(order, settings))


def _origin(run_id: str, at: str | None, by: str) -> Origin:
    try:
        return Origin(run_id=run_id, step_id=at, by=by[:MAX_BY])
    except ValueError:
        raise ConfigError(f"--at {at}: a step is written m3 or m3.t2") from None
