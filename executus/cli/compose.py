"""What a command line's own worker consists of: the demo's agent and tools, models, records."""

import importlib
import os
import sysconfig
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

import executus
from executus.cli.text import LINE
from executus.delivery import Deliveries, Egress, FileDelivery, Stdout, Webhook
from executus.demo.agent import folder_agent
from executus.demo.offline import OfflineProvider
from executus.demo.tools import folder_tools
from executus.errors import ConfigError, ExecutusError
from executus.mcp.file import load_servers
from executus.models.registry import Models
from executus.packs import load_packs
from executus.plan import Price
from executus.plugin import ExecutusPlugin
from executus.ports import Ports
from executus.redact import Redactor
from executus.sanitize import clean_line
from executus.settings import Settings
from executus.stores.database import Database
from executus.stores.file_store import FileStore, open_files
from executus.stores.folder_checkpoints import FolderCheckpoints
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from executus.stores.sql_letters import SqlLetters

OFFLINE = "offline/demo"
"""Spec of the model that answers without a key: a script, not a model."""
FREE = Price(input=0, output=0, version="offline")
OFFLINE_NOTE = (
    "offline: a script plays the model, the tools are real; set ANTHROPIC_API_KEY or "
    "OPENAI_API_KEY for a real one"
)
MAX_PROBLEM = 500
"""Characters of what a host's own code says when it fails."""

agents_option = click.option(
    "--agents",
    "folders",
    multiple=True,
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of agent files, instead of EXECUTUS_AGENTS; may be repeated.",
)
app_option = click.option(
    "--app", metavar="MODULE:ATTR", type=LINE, help="Your own ExecutusPlugin, or what makes one."
)


def with_agents(settings: Settings, folders: Sequence[Path]) -> Settings:
    """The settings with the folders of `--agents`, when there are any."""
    return settings.model_copy(update={"agents": tuple(folders)}) if folders else settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """A plugin, and what to tell people about it."""

    plugin: ExecutusPlugin
    """Ready to register on a client."""
    database: Database | None = None
    """Where its runs are recorded; ours to close."""
    files: FileStore | None = None
    """Where files of its runs are kept; ours to close."""
    notes: tuple[str, ...] = ()
    """Lines for people: what stands in for something real."""

    async def close(self) -> None:
        """Close what `compose` opened."""
        if self.database is not None:
            await self.database.close()
        if self.files is not None:
            await self.files.close()


def compose(settings: Settings, *, folder: Path | None = None) -> Composition:
    """The command line's own host.

    Models are those whose keys stand in the environment. Without any, the tier `fast` is the
    offline script, and `notes` say so. Runs are recorded in the settings' database; who has no cap
    there may spend what the agent's own limits allow.
    """
    environ = dict(os.environ)
    offline = "fast" not in Models.from_environment(environ).tiers
    if offline:
        environ["EXECUTUS_TIER_FAST"] = OFFLINE
    # Our own file is ours to set up; a database that somebody named is migrated by `migrate`.
    database = Database(settings.database, auto_migrate=settings.database_url is None)
    files = open_files(settings.files) if settings.files is not None else None
    plugin = ExecutusPlugin(
        agents=[folder_agent()],
        agent_folders=settings.agents,
        packs=load_packs(settings.packs_file, settings.packs_store),
        tools=folder_tools(folder or settings.demo_folder),
        mcp=load_servers(settings.mcp) if settings.mcp is not None else (),
        models=Models.from_environment(
            environ, providers=[OfflineProvider()], prices={OFFLINE: FREE}
        ),
        ports=Ports(
            audit=SqlAudit(database),
            budget=SqlBudget(database, unlimited_by_default=True),
            files=files,
            delivery=deliveries(settings, os.environ),
            letters=SqlLetters(database),
            checkpointer=FolderCheckpoints(settings.checkpoints) if settings.checkpoints else None,
        ),
    )
    notes = (OFFLINE_NOTE,) if offline else ()
    return Composition(plugin=plugin, database=database, files=files, notes=notes)


def deliveries(settings: Settings, environ: Mapping[str, str]) -> Deliveries:
    """Every shipped kind, as the settings say; webhooks by name from `EXECUTUS_WEBHOOK_<NAME>`."""
    egress = Egress(
        hosts=settings.delivery_hosts,
        ports=settings.delivery_ports,
        http=settings.delivery_http,
        networks=settings.delivery_networks,
    )
    folder = settings.delivery_folder or settings.data_dir / "delivered"
    return Deliveries(
        {
            "stdout": Stdout(),
            "file": FileDelivery(folder.absolute()),
            "webhook": Webhook.from_environment(environ, egress=egress),
        }
    )


def _app_problem(error: Exception) -> str:
    """What went wrong in a host's code and where, in one line."""
    text = clean_line(Redactor().text(str(error)), MAX_PROBLEM)
    kind = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{kind}: {text}"  # it names the file and line itself
    if where := _their_line(error):
        shown = text if isinstance(error, ExecutusError) else f"{kind}: {text}"
        return f"{shown} ({where})"
    missing = isinstance(error, ImportError | AttributeError)
    return f"{text}; is it installed, or PYTHONPATH set?" if missing else f"{kind}: {text}"


def _their_line(error: Exception) -> str | None:
    """File and line of the innermost code that is neither ours nor installed."""
    installed = [
        sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
    ]
    others = (*installed, str(Path(executus.__file__).parent), "<")
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(others)]
    return f"{theirs[-1].filename}:{theirs[-1].lineno}" if theirs else None


def load_app(reference: str, settings: Settings) -> Composition:
    """A host's own plugin, from `module:attribute`: a plugin, or a function that makes one.

    It also serves the agents of the settings' folders, and has their skill packs.

    Raises:
        ConfigError: It cannot be imported, or is something else; names what it is.
    """
    name, _, attribute = reference.partition(":")
    if not name or not attribute:
        msg = f"--app `{reference}`: write `module:attribute`, such as `my_app.host:plugin`"
        raise ConfigError(msg)
    try:
        found: object = getattr(importlib.import_module(name), attribute)
        plugin: object = found() if callable(found) else found
    except Exception as error:  # noqa: BLE001 - a host's own code may raise anything
        raise ConfigError(f"--app `{reference}`: {_app_problem(error)}") from None
    if not isinstance(plugin, ExecutusPlugin):
        kind = type(plugin).__name__
        msg = f"--app `{reference}` is a {kind}; it must be an ExecutusPlugin or make one"
        raise ConfigError(msg)
    plugin.add_agent_folders(settings.agents)
    plugin.add_packs(load_packs(settings.packs_file, settings.packs_store))
    return Composition(plugin=plugin)
