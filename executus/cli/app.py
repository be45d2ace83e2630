"""The command group. It imports a command's module only when that command is called."""

import errno
import importlib
import sys
import traceback
from typing import NamedTuple, NoReturn

import click

from executus import garbage
from executus.cli import exit as codes
from executus.errors import ExecutusError, UserError


class Entry(NamedTuple):
    """Where a command lives."""

    module: str
    """Module that holds it under the command's own name."""
    help: str
    """One line for the list of commands, so that listing imports nothing."""


COMMANDS = {
    "run": Entry("executus.cli.run", "Run an agent and show what it does."),
    "fork": Entry("executus.cli.fork", "Go on from a step of another run, as a new one."),
    "agents": Entry("executus.cli.agents", "List agents and what is wrong with them."),
    "approve": Entry("executus.cli.decide", "Let a tool call be made that waits for a yes."),
    "deny": Entry("executus.cli.decide", "Do not let it be made; the agent is told."),
    "answer": Entry("executus.cli.decide", "Answer what an agent asks people."),
    "steer": Entry("executus.cli.steer", "Say something to a running agent."),
    "cancel": Entry("executus.cli.cancel", "Stop a run gracefully."),
    "packs": Entry("executus.cli.packs", "Subscribe to skill packs and pin their content."),
    "tools": Entry("executus.cli.tools", "List what an agent may name in its tools."),
    "worker": Entry("executus.cli.worker", "Serve a task queue until SIGTERM."),
    "server": Entry("executus.cli.serve", "Keep this folder's Temporal server and its UI open."),
    "schedule": Entry("executus.cli.schedule", "Start agent runs at set times."),
    "audit": Entry("executus.cli.audit", "Show and verify what runs did."),
    "budget": Entry("executus.cli.budget", "Show and set spend limits."),
    "files": Entry("executus.cli.files", "Show, fetch and forget files of runs."),
    "deliveries": Entry("executus.cli.deliveries", "Show and resend what was not delivered."),
    "migrate": Entry("executus.cli.migrate", "Create or upgrade the database schema."),
    "sweep": Entry("executus.cli.sweep", "Close the records of runs that died."),
}


class LazyGroup(click.Group):
    """A group over `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None when there is none of that name."""
        del ctx
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        with garbage.loading():
            command: object = getattr(importlib.import_module(entry.module), cmd_name)
        if not isinstance(command, click.Command):
            msg = f"{entry.module}.{cmd_name} is not a click command"
            raise TypeError(msg)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="executus", message="%(prog)s %(version)s")
def cli() -> None:
    """Durable, bounded, audited LLM agent runs on Temporal.

    Where Temporal is comes from TEMPORAL_ADDRESS, TEMPORAL_PROFILE and Temporal's own
    configuration file; without them a server is started in .executus/. Every other setting is
    an EXECUTUS_ variable.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point of the `executus` command; never returns, see `executus.cli.exit`."""
    codes.leave(invoke(arguments))


def invoke(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code; errors become one line on stderr."""
    try:
        code: object = cli.main(args=arguments, prog_name="executus", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last boundary
        return _report(error)
    return code if isinstance(code, int) else codes.OK


def _with_known(error: click.exceptions.NoSuchCommand) -> str:
    """Click's own text, and the commands that there are."""
    text, context = error.format_message(), error.ctx
    if context is None or not isinstance(context.command, click.Group):
        return text
    return f"{text} Commands: {', '.join(context.command.list_commands(context))}."


def _show_usage(error: click.UsageError) -> None:
    """What is wrong with a call, in a line that says where to read more."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show(sys.stderr)  # nothing was asked: this is the answer
        return
    text = error.format_message()
    if isinstance(error, click.exceptions.NoSuchCommand):
        text = _with_known(error)
    name = "executus" if error.ctx is None else error.ctx.command_path
    click.echo(f"{name}: {' '.join(text.split())} ({name} --help)", err=True)


def _said_by_temporal(error: BaseException) -> str | None:
    """The line for a call of Temporal that failed; None for any other error."""
    if "temporalio.service" not in sys.modules:  # heavy, and who raises its error has imported it
        return None
    from temporalio.service import RPCError  # noqa: PLC0415

    from executus.connect import told  # noqa: PLC0415

    return told(error) if isinstance(error, RPCError) else None


def _report(error: BaseException) -> int:
    """Show an error as its kind deserves, and say which exit code it is."""
    match error:
        case click.UsageError():
            _show_usage(error)
            return error.exit_code
        case click.ClickException():
            error.show(sys.stderr)
            return error.exit_code
        case click.Abort() | KeyboardInterrupt():
            return codes.INTERRUPTED
        case BrokenPipeError() | OSError(errno=errno.ENOSPC):
            if not isinstance(error, BrokenPipeError):  # else `| head`: it has what it wanted
                click.echo(f"executus: cannot write: {error.strerror}", err=True)
            return codes.FAILED
        case ExecutusError():
            click.echo(f"executus: {error}", err=True)
            return codes.USAGE if isinstance(error, UserError) else codes.FAILED
        case _:
            text = _said_by_temporal(error)
            if text is None:  # a bug: show all of it
                traceback.print_exception(error)
            else:
                click.echo(f"executus: {text}", err=True)
            return codes.FAILED
