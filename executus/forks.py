"""Make the request of a fork: the agent and caller of the run it goes on from, unless told."""

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from executus.agent import RunnableAgent
from executus.errors import UserError
from executus.invocation import Invocation
from executus.origin import Origin
from executus.request import RunRequest


async def fork_request(
    client: Client,
    origin: Origin,
    *,
    agent: RunnableAgent | str | None = None,
    model_tier: str | None = None,
    prompt: str = "",
    run_id: str | None = None,
    caller_id: str | None = None,
) -> RunRequest:
    """The request of a run that goes on from `origin`, with a new id, budget and limits.

    Args:
        client: Knows the run to go on from.
        origin: Which run, and up to where.
        agent: Another agent; None = that run's.
        model_tier: A tier or model spec; None = that run's, or the own one of another agent.
        prompt: What to say next; empty = let the model answer again.
        run_id: The new run's id; None = a generated one.
        caller_id: Who forks; None = that run's caller. Of another caller no fork is made.

    Raises:
        UserError: Temporal has forgotten that run, and no agent or caller is given.
    """
    asked = await request_of(client, origin.run_id)
    if asked is None and (agent is None or caller_id is None):
        text = (
            f"Temporal knows no run {origin.run_id}: from a checkpoint it can go on with an agent "
        )
        raise UserError(text + "and a caller given (--agent, --caller)")
    given = asked.invocation if asked else Invocation()
    chosen = agent if agent is not None else (asked.agent if asked else "")
    if asked is not None and agent is None:
        model_tier = model_tier or asked.model_tier
    return RunRequest(
        agent=chosen,
        invocation=Invocation(
            prompt=prompt,
            run_id=run_id,
            caller_id=caller_id or given.caller_id,
            tenant_id=given.tenant_id,
            channel_id=given.channel_id,
            priority=given.priority,
        ),
        model_tier=model_tier,
        origin=origin,
    )


async def request_of(client: Client, run_id: str) -> RunRequest | None:
    """What a run was started with, from the first event of its first execution.

    None when Temporal knows no such run.
    """
    execution: str | None = None
    try:
        while True:
            handle = client.get_workflow_handle(run_id, run_id=execution)
            events = handle.fetch_history_events(page_size=1)
            first = await anext(aiter(events))
            started = first.workflow_execution_started_event_attributes
            if started.first_execution_run_id in {execution, started.original_execution_run_id}:
                break
            execution = started.first_execution_run_id
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    found = await client.data_converter.decode(list(started.input.payloads), [RunRequest])
    request: RunRequest = found[0]
    return request
