"""Lineage: where a run stands among the runs that started it, and what they left for it."""

from pydantic import Field

from executus.data import Data


class Lineage(Data):
    """Set by executus on the request of a child run; a run that a host starts has none.

    The guard against composition that never ends rides in the request and nowhere else, so it holds
    without an audit, a budget or any other store.
    """

    ancestors: tuple[str, ...] = Field(min_length=1, max_length=64)
    """Identities of the agents above, the root's first."""
    root_run_id: str
    """The run that a host started."""
    files_also: tuple[str, ...] = ()
    """Runs that the root was forked from, whose files the family can read."""
    depth_left: int = Field(ge=0)
    """Levels that may still be added below this run."""
    descendants_left: int = Field(ge=0)
    """Runs that may be started below this run; what it does not use goes back to its parent."""
    seconds: float = Field(gt=0)
    """Runtime that its parent has left for it: whatever the agent or a critic says, no more."""
    result_bytes: int = Field(gt=0)
    """Size that the whole result may have in the parent's history."""


class ChildResultInput(Data):
    """Input of `executus.child_result`: what became of a child that could not tell its parent."""

    run_id: str
    """The child's run id, which is its workflow id."""
