"""`executus packs`: skill packs of this host. Nothing changes under an agent before `apply`."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from executus.cli import exit as codes
from executus.cli.text import LINE
from executus.packs import Pack, Subscriptions
from executus.packs.loaded import SHORT
from executus.packs.subscriptions import Outcome
from executus.settings import load_settings


@click.group()
def packs() -> None:
    """Subscribe to skill packs (folders with a SKILL.md) and pin their content.

    Workers load only what is pinned. EXECUTUS_PACKS_FILE says which and belongs under version
    control; copies are kept in EXECUTUS_DATA_DIR.
    """


@packs.command()
@click.argument("folder", metavar="PATH|DIR", type=click.Path(path_type=Path))
def add(*, folder: Path) -> int:
    """Subscribe to the pack in PATH, or to every pack right below DIR, and pin them as they are.

    Read a pack before you add it: it becomes part of your agents' instructions.
    """
    return _tell(_subscriptions().add(folder))


@packs.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, type=LINE)
def check(*, names: tuple[str, ...]) -> int:
    """Look for updates and record them as pending. No pin moves; exit code 1 if there are any.

    The changed content is kept beside the pinned one, so that the two can be compared.
    """
    return _tell(_subscriptions().check(names))


@packs.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, type=LINE)
@click.option("--all", "everything", is_flag=True, help="Every pack that has an update pending.")
@click.option("--digest", default="", help="Only if what is pending begins with it; one NAME.")
def apply(*, names: tuple[str, ...], everything: bool, digest: str) -> int:
    """Pin the updates that `check` found, as they were found. Workers take them up when started.

    Runs that began before refuse to load what they were not granted. With --digest of what you
    have read, a check that ran in between cannot slip in something else.
    """
    if digest and len(names) != 1:
        raise click.UsageError("--digest goes with one NAME")
    subscriptions = _subscriptions()
    pending = subscriptions.pending()
    if everything == bool(names):
        listed = ", ".join(pending) or "none"
        raise click.UsageError(f"give NAMEs or --all; updates are pending for: {listed}")
    if everything and not pending:
        click.echo("no update is pending")
        return codes.OK
    return _tell(subscriptions.apply(pending if everything else names, digest))


@packs.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, type=LINE)
def remove(*, names: tuple[str, ...]) -> int:
    """End the subscription to packs. Agents that name them are refused from then on."""
    return _tell(_subscriptions().remove(names))


@packs.command("list")
@click.option("--json", "as_json", is_flag=True, help="One pack a line, as JSON.")
def list_packs(*, as_json: bool) -> int:
    """List subscribed packs: pin, pending update, source. Exit code 1 if one cannot be loaded."""
    sound = True
    settings = load_settings()
    known = _subscriptions().all()
    if not known:
        click.echo("no packs", err=True)
    for name, (item, pack) in known.items():
        sound = sound and isinstance(pack, Pack)
        if as_json:
            shown = {"name": name, **item.model_dump(mode="json"), **_about(pack)}
            click.echo(json.dumps(shown, ensure_ascii=False))
            continue
        click.echo(f"{name}  {item.digest[:SHORT]}  {item.source}")
        for key, value in _about(pack).items():
            click.echo(f"    {key}: {value}")
        if item.pending is not None:
            new = settings.packs_store / item.pending.digest
            found = f"{item.pending.found_at:%F %T}"
            click.echo(f"    PENDING {item.pending.digest[:SHORT]} since {found}, see {new}")
    return codes.OK if sound else codes.FAILED


def _about(pack: Pack | str) -> dict[str, str]:
    if isinstance(pack, str):
        return {"PROBLEM": pack}
    about = {"description": pack.description, "files": ", ".join(pack.more), "wishes": pack.wishes}
    return {key: value for key, value in about.items() if value}


def _subscriptions() -> Subscriptions:
    settings = load_settings()
    return Subscriptions(settings.packs_file, settings.packs_store)


def _tell(outcomes: Sequence[Outcome]) -> int:
    for outcome in outcomes:
        click.echo(f"{outcome.name}: {outcome.text}")
    return codes.OK if all(outcome.fine for outcome in outcomes) else codes.FAILED
