"""`executus approve`, `deny` and `answer`: say what a run waits for a person to say."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AsyncExitStack, contextmanager

import click
from temporalio.client import WorkflowQueryFailedError
from temporalio.service import RPCError

from executus.cli import exit as codes
from executus.cli.checked import checked
from executus.cli.family import below
from executus.cli.reach import check_served, how_it_ended
from executus.cli.sweep import plain_client
from executus.cli.text import ANY_TEXT, ID, NAME, TEXT
from executus.cli.user import user
from executus.errors import UserError
from executus.question import Answer, Decision, Question, QuestionKind
from executus.runs import Runs
from executus.settings import load_settings
from executus.state import LiveState
from executus.updates import refused
from executus.waits import question_lines, running_children

RUN = click.argument("run_id", metavar="RUN", type=ID)
STEP = click.argument("step_id", metavar="[STEP]", required=False, type=TEXT)
AS = click.option(
    "--as", "by", type=NAME, help="Who you are, for the record; your login by default."
)
NOTE = click.option(
    "--note", default="", type=ANY_TEXT, help="Why; recorded, and told to the agent on a no."
)
DIGEST = click.option(
    "--digest", type=TEXT, help="Say it to exactly this call, as `--list` showed it."
)


@click.command("approve")
@RUN
@STEP
@AS
@NOTE
@DIGEST
@click.option("--list", "listed", is_flag=True, help="Only show what waits, in sub-agents too.")
def approve(
    *, run_id: str, step_id: str | None, by: str | None, note: str, digest: str | None, listed: bool
) -> int:
    """Let a tool call be made that waits for a person's yes.

    STEP may be left out when only one waits.
    """
    if listed:
        return asyncio.run(_list(run_id))
    return asyncio.run(_decide(Runs.approve, run_id, step_id, by=by, note=note, digest=digest))


@click.command("deny")
@RUN
@STEP
@AS
@NOTE
@DIGEST
def deny(*, run_id: str, step_id: str | None, by: str | None, note: str, digest: str | None) -> int:
    """Do not let it be made; the agent is told, with the note."""
    return asyncio.run(_decide(Runs.deny, run_id, step_id, by=by, note=note, digest=digest))


@click.command("answer")
@RUN
@click.argument("text", type=TEXT)
@click.option("--step", "step_id", type=TEXT, help="Which question, when several wait.")
@AS
@DIGEST
def answer(
    *, run_id: str, text: str, step_id: str | None, by: str | None, digest: str | None
) -> int:
    """Answer what an agent asks by its tool `ask_human`."""
    return asyncio.run(_answer(run_id, text, step_id, by, digest))


async def _list(run_id: str) -> int:
    async with AsyncExitStack() as stack:
        settings = load_settings()
        client = await plain_client(stack, settings)
        if ended := await how_it_ended(client, run_id):
            click.echo(f"{run_id} waits for nobody: it has ended ({ended})", err=True)
            return codes.OK
        await check_served(client, settings, run_id)
        runs = Runs(client)
        family = await _family(runs, run_id)
    waiting = [(state.run_id, question) for state in family for question in state.questions]
    for whose, question in waiting:
        what, how = question_lines(whose, question)
        click.echo(f"{what}\n  {how}")
    if not waiting:
        click.echo(f"{run_id} waits for nobody", err=True)
    return codes.OK


async def _decide(
    decide: Callable[[Runs, str, Decision], Awaitable[LiveState]],
    run_id: str,
    step_id: str | None,
    *,
    by: str | None,
    note: str,
    digest: str | None,
) -> int:
    async with AsyncExitStack() as stack:
        runs = await _served(stack, run_id)
        question = _pick(await _state(runs, run_id), step_id, "approval")
        shown = digest or question.digest
        with checked(Decision):
            decision = Decision(step_id=question.step_id, digest=shown, by=_who(by), note=note)
        await decide(runs, run_id, decision)
    done = "approved" if decide is Runs.approve else "denied"
    click.echo(f"{done} {question.step_id}: {question.tool} {question.arguments}")
    return codes.OK


async def _answer(
    run_id: str, text: str, step_id: str | None, by: str | None, digest: str | None
) -> int:
    async with AsyncExitStack() as stack:
        runs = await _served(stack, run_id)
        question = _pick(await _state(runs, run_id), step_id, "answer")
        shown = digest or question.digest
        with checked(Answer):
            given = Answer(step_id=question.step_id, digest=shown, by=_who(by), text=text)
        await runs.answer(run_id, given)
    click.echo(f"answered {question.step_id}: {question.text}")
    return codes.OK


async def _served(stack: AsyncExitStack, run_id: str) -> Runs:
    """Runs, where this one goes on and has a worker; otherwise UserError, at once."""
    settings = load_settings()
    client = await plain_client(stack, settings)
    await check_served(client, settings, run_id)
    return Runs(client)


def _who(by: str | None) -> str:
    return by or user()


async def _family(runs: Runs, run_id: str) -> list[LiveState]:
    with _told_of(run_id):
        top = await runs.state(run_id)
        return [top, *[child async for child in below(top, runs.state)]]


async def _state(runs: Runs, run_id: str) -> LiveState:
    with _told_of(run_id):
        return await runs.state(run_id)


@contextmanager
def _told_of(run_id: str) -> Generator[None]:
    """Errors of Temporal in one line that names the run."""
    try:
        yield
    except RPCError as error:
        raise refused(run_id, error) from None
    except WorkflowQueryFailedError as error:
        raise UserError(f"run {run_id}: {error.message}") from None


def _pick(state: LiveState, step_id: str | None, kind: QuestionKind) -> Question:
    """The question that is meant.

    Raises:
        UserError: none waits there, or several do and none is named.
    """
    waiting = [question for question in state.questions if question.kind == kind]
    if step_id is None and len(waiting) == 1:
        return waiting[0]
    for question in waiting:
        if question.step_id == step_id:
            return question
    raise UserError(_problem(state, step_id, kind, waiting))


def _problem(
    state: LiveState, step_id: str | None, kind: QuestionKind, waiting: Sequence[Question]
) -> str:
    names = ", ".join(question.step_id for question in waiting)
    if step_id is None and waiting:
        return f"{state.run_id}: several steps wait for an {kind}: name one of {names}"
    at = f" at {step_id}" if step_id else ""
    waits = f"waiting: {names or 'none'}"
    if running_children(state):
        waits += f"; of its sub-agents: executus approve {state.run_id} --list"
    return f"{state.run_id} ({state.stage}): no {kind} is asked for{at}; {waits}"
