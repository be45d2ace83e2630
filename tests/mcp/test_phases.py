"""A phase names a server's tools as its agent does."""

import pytest

from executus import RunnableAgent
from executus.activities.phases import BadPhase, plan_phases
from executus.limits import Defaults
from executus.phase import Phase
from executus.plan import ModelTarget, ToolDef


def granted(name: str, source: str = "") -> ToolDef:
    return ToolDef(name=name, source=source, parameters={}, digest="d")


TOOLS = (granted("look"), granted("a__x", "mcp:a/x"), granted("a__y", "mcp:a/y"))
TARGETS = (ModelTarget(spec="s/m", context_window=1),)


@pytest.mark.parametrize(
    ("named", "tools"),
    [
        (("mcp:a",), ("a__x", "a__y")),
        (("mcp:a/y", "look"), ("a__y", "look")),
        (("a__x", "mcp:a/x"), ("a__x",)),
        (("mcp:gone",), ()),
        ((), ("look", "a__x", "a__y")),
    ],
)
def test_what_a_phase_names_is_what_its_agent_was_granted(named, tools):
    phase = Phase(name="p", system_prompt="do it", tools=named)
    agent = RunnableAgent(name="a", tools=("look", "mcp:a", "mcp:gone"), phases=(phase,))
    (planned,) = plan_phases(agent, Defaults(), TOOLS, lambda tier: TARGETS)
    assert planned.tools == tools


@pytest.mark.parametrize("name", ["mcp:b", "mcp:a/z", "nope"])
def test_what_it_was_not_granted_is_refused(name):
    phase = Phase(name="p", system_prompt="do it", tools=(name,))
    agent = RunnableAgent(name="a", tools=("mcp:a",), phases=(phase,))
    with pytest.raises(BadPhase, match="not among the agent's tools"):
        plan_phases(agent, Defaults(), TOOLS, lambda tier: TARGETS)
