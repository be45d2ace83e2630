"""`executus budget`: set, show and raise what scopes may spend."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from executus.budget import BudgetCap, BudgetUse, CapVerdict, Currency, Window
from executus.cli.grant import grant
from executus.cli.records import database_option, with_database
from executus.cli.text import LINE
from executus.cli.user import user
from executus.stores.caps import CapChange
from executus.stores.database import Database
from executus.stores.ledger import KINDS, WINDOWS, money, resolve_caps, scope_name, stored
from executus.stores.sql_budget import SqlBudget

ALL = tuple(f"{kind}:*" for kind in KINDS)
"""What `*` alone means."""
Function = TypeVar("Function", bound=Callable[..., Any])
window_option = click.option(
    "--window",
    type=click.Choice(WINDOWS),
    help="Each run; a calendar day or month in UTC; the last 7 days; total: all there ever was.",
)


def amount_options(function: Function) -> Function:
    """One option for each currency."""
    for option in (
        click.option("--seconds", type=float, help="Runtime."),
        click.option("--tokens", type=int, help="Input plus output."),
        click.option("--usd", type=float, help="US dollars."),
    ):
        function = option(function)
    return function


@click.group()
def budget() -> None:
    """Show and set spend limits.

    A SCOPE is caller:<id>, tenant:<id> or agent:<id>. With * as the id it holds for each one that
    has no cap of its own.
    """


@budget.command("set")
@click.argument("scope", type=LINE)
@window_option
@amount_options
@click.option("--unlimited", is_flag=True, help="Say that there is no cap; * means every scope.")
@click.option("--remove", is_flag=True, help="Forget what was said.")
@click.option("--note", default="", help="Why; kept with the cap.")
@database_option
def set_cap(
    *,
    scope: str,
    window: Window | None,
    usd: float | None,
    tokens: int | None,
    seconds: float | None,
    unlimited: bool,
    remove: bool,
    note: str,
    database: str | None,
) -> None:
    """Set the cap of a SCOPE in one window, or say that it needs none.

    It holds from the next call on and counts what was used before.
    """
    if unlimited and remove:
        raise click.UsageError("--unlimited and --remove exclude each other")
    verdict: CapVerdict = "unlimited" if unlimited else "removed" if remove else "cap"
    amount = _amount(usd, tokens, seconds, needed=verdict == "cap")
    if verdict == "cap" and window is None:
        raise click.UsageError(f"name the window: --window {'|'.join(WINDOWS)}")
    if verdict != "cap" and (amount is not None or window is not None):
        raise click.UsageError("--unlimited and --remove take no window and no amount")
    scopes = _scopes(scope, verdict)
    currency, value = amount or (None, None)

    async def work(store: Database) -> list[BudgetCap]:
        desk, said = SqlBudget(store), list[BudgetCap]()
        for name in scopes:
            change = CapChange(name, window, currency, value, verdict, user(), note)
            if verdict != "cap":
                said += await _remove_caps(desk, change)
            if verdict != "removed":
                said.append(await desk.set_cap(change))
        return said

    said = with_database(database, work)
    for cap in said:
        click.echo(_cap_line(cap))
    if not said:
        click.echo(f"{scope}: nothing was said, so there is nothing to remove")


def _scopes(scope: str, verdict: CapVerdict) -> tuple[str, ...]:
    """The scopes that are meant; one number for callers, tenants and agents alike never is."""
    if scope == "*" and verdict == "cap":
        each = ", ".join(ALL)
        raise click.UsageError(f"`*` alone goes only with --unlimited or --remove; else {each}")
    return ALL if scope == "*" else (scope,)


async def _remove_caps(desk: SqlBudget, change: CapChange) -> list[BudgetCap]:
    """Take back everything that was said about one scope."""
    name = change.checked().scope
    newest = {(c.window, c.currency): c for c in await desk.caps() if c.scope == name}
    return [
        await desk.set_cap(
            change._replace(
                window=None if cap.window == "any" else cap.window,
                currency=None if cap.currency == "any" else cap.currency,
                cap=None,
                verdict="removed",
            )
        )
        for cap in newest.values()
        if cap.verdict != "removed"
    ]


@budget.command("raise")
@click.argument("scope", type=LINE)
@window_option
@amount_options
@database_option
def raise_cap(
    *,
    scope: str,
    window: Window | None,
    usd: float | None,
    tokens: int | None,
    seconds: float | None,
    database: str | None,
) -> None:
    """Add to the cap of a SCOPE; runs that wait for room find it at their next call."""
    amount = _amount(usd, tokens, seconds, needed=True)
    if window is None or amount is None:
        raise click.UsageError(f"name the window: --window {'|'.join(WINDOWS)}")
    currency, more = amount

    async def work(store: Database) -> BudgetCap:
        return await SqlBudget(store).raise_cap(scope, window, currency, more, by=user())

    click.echo(_cap_line(with_database(database, work)))


@budget.command()
@click.argument("scope", required=False, type=LINE)
@database_option
def show(*, scope: str | None, database: str | None) -> None:
    """Show every cap, or what one SCOPE used and may use."""

    async def caps(store: Database) -> list[BudgetCap]:
        return await SqlBudget(store).caps()

    if scope is not None:
        for line in with_database(database, lambda store: _scope_lines(SqlBudget(store), scope)):
            click.echo(line)
        return
    newest = {(cap.scope, cap.window, cap.currency): cap for cap in with_database(database, caps)}
    kept = [newest[key] for key in sorted(newest) if newest[key].verdict != "removed"]
    for cap in kept:
        click.echo(_cap_line(cap))
    if not kept:
        click.echo("no caps", err=True)


async def _scope_lines(desk: SqlBudget, scope: str) -> list[str]:
    """What one scope used and may use; where there is no cap, whether somebody said so."""
    uses = await desk.show(scope)
    shown = [use for use in uses if use.cap is not None or use.settled or use.reserved]
    lines = [_use_line(use) for use in shown]
    if any(use.cap is not None for use in uses):
        return lines
    name = scope_name(scope)
    _, missing = resolve_caps([name], await desk.caps(), unlimited=False)
    if not missing:
        return [*lines, f"{name}: unlimited"]
    set_one = f"executus budget set {name} --window day --usd 5"
    text = (
        f"{name}: nothing was said, so it has no budget (unless its host says "
        f"unlimited_by_default, as `executus run` and `executus worker` do); {set_one}"
    )
    return [*lines, text]


def _amount(
    usd: float | None, tokens: int | None, seconds: float | None, *, needed: bool
) -> tuple[Currency, float] | None:
    """The one amount that was given, in the ledger's currency."""
    given: list[tuple[Currency, float]] = []
    if usd is not None:
        given.append(("micro_usd", round(usd * 1_000_000) if math.isfinite(usd) else usd))
    if tokens is not None:
        given.append(("tokens", tokens))
    if seconds is not None:
        given.append(("seconds", seconds))
    if len(given) > 1 or (needed and not given):
        raise click.UsageError("give one amount: --usd, --tokens or --seconds")
    return given[0] if given else None


def _text(currency: str, amount: float) -> str:
    known: Currency = (
        "seconds" if currency == "seconds" else "tokens" if currency == "tokens" else "micro_usd"
    )
    return money(known, stored(known, amount))


def _cap_line(cap: BudgetCap) -> str:
    what = cap.verdict if cap.cap is None else _text(cap.currency, cap.cap)
    where = "" if cap.window == "any" else f" {cap.window}"
    by = f" by {cap.set_by}" if cap.set_by else ""
    note = f": {cap.note}" if cap.note else ""
    return f"{cap.scope}{where} {what} (version {cap.version}, {cap.set_at:%F %T}{by}{note})"


def _use_line(use: BudgetUse) -> str:
    if use.window == "run" and use.cap is not None:
        cap = _text(use.currency, use.cap)
        return f"{use.scope} run: cap {cap}, for each run and its children"
    settled, reserved = (_text(use.currency, amount) for amount in (use.settled, use.reserved))
    cap = "no cap" if use.cap is None else f"cap {_text(use.currency, use.cap)}"
    return f"{use.scope} {use.window}: {settled} used, {reserved} held, {cap}"


budget.add_command(grant)
