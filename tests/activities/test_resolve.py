"""What holds for a run: the agent's own values, else the host's, else the seed's numbers."""

import pytest

from executus.activities.resolve import bounds_of
from executus.agent import RunnableAgent
from executus.limits import Defaults, Limits

SEED = {
    "max_iterations": 12,
    "max_runtime": 60.0,
    "model_tier": "fast",
    "tool_errors": 3,
    "same_tool_calls": 3,
    "compaction_ratio": 0.7,
}
HOST = {
    "max_iterations": 4,
    "max_runtime": 4.0,
    "model_tier": "house",
    "tool_errors": 4,
    "same_tool_calls": 4,
    "compaction_ratio": 0.9,
}
OWN = {
    "max_iterations": 5,
    "max_runtime": 7.5,
    "model_tier": "thinking",
    "tool_errors": 0,
    "same_tool_calls": 0,
    "compaction_ratio": 0.5,
}


def test_the_defaults_are_the_seeds_own_numbers():
    assert {name: getattr(Defaults(), name) for name in SEED} == SEED


@pytest.mark.parametrize("name", SEED)
def test_an_agents_own_value_wins_and_none_takes_the_hosts(name):
    host = Defaults(**{name: HOST[name]})
    outer = name in {"max_iterations", "max_runtime", "model_tier"}
    own = {name: OWN[name]} if outer else {"limits": Limits(**{name: OWN[name]})}
    silent = bounds_of(RunnableAgent(name="a"), host)
    assert silent == host
    spoken = bounds_of(RunnableAgent(name="a", **own), host)
    assert spoken == host.model_copy(update={name: OWN[name]}), "nothing else changes"


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_a_ratio_that_is_no_share_is_refused(ratio):
    with pytest.raises(ValueError, match="compaction_ratio"):
        Limits(compaction_ratio=ratio)
    with pytest.raises(ValueError, match="compaction_ratio"):
        Defaults(compaction_ratio=ratio)
