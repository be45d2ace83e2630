"""RunRequest: the workflow's one input."""

from pydantic import Field

from executus.agent import RunnableAgent
from executus.data import Record
from executus.invocation import Invocation
from executus.lineage import Lineage
from executus.origin import Origin

MAX_REQUEST_BYTES = 1_000_000
"""JSON bytes of a whole request. Temporal refuses 2 MiB; the margin is for codecs and the plan."""


class RunRequest(Record):
    """What to run, and for whom.

    Pass it to `client.start_workflow(AgentRun.run, request, id=..., task_queue=...)`.
    """

    invocation: Invocation = Field(default_factory=Invocation)
    """Who asks, and for what. First, since it is what a person looks for in the Temporal UI."""
    agent: RunnableAgent | str
    """By value, or the name of an agent registered on the worker."""
    model_tier: str | None = Field(default=None, min_length=1, max_length=1_000)
    """A tier or model spec for this run in place of the agent's own."""
    origin: Origin | None = None
    """Go on from the conversation of another run (`executus fork`)."""
    lineage: Lineage | None = None
    """Set by executus on child runs; leave it out."""
