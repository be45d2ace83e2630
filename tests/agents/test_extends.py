"""`extends`: what is absent is inherited, what is written holds."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executus.agent import RunnableAgent
from executus.agents import load_agent, load_catalogue
from executus.agents.declared import Declared
from executus.agents.extends import MAX_DEPTH, OWN, TABLES, effective, overlay
from executus.errors import ConfigError
from executus.limits import Limits

names = st.lists(st.sampled_from(["read", "write", "list"]), max_size=3).map(tuple)
limits = st.fixed_dictionaries(
    {},
    optional={
        "tool_errors": st.none() | st.integers(0, 9),
        "tokens": st.none() | st.integers(1, 9),
        "at_limit": st.sampled_from(["stop", "ask"]),
    },
)
written = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["", "i"]),
        "system_prompt": st.none() | st.sampled_from(["", "Be brief."]),
        "model_tier": st.none() | st.sampled_from(["fast", "thinking"]),
        "max_iterations": st.none() | st.integers(1, 9),
        "tools": st.none() | names,
        "skill_packs": st.none() | names,
        "sub_agents": st.none() | names,
        "output_schema": st.none() | st.sampled_from([{"type": "object"}, {"type": "string"}]),
        "limits": st.none() | limits,
        "visibility": st.sampled_from(["private", "public"]),
    },
)
Fields = dict[str, Any]


def chain(*layers: Fields) -> tuple[Declared, ...]:
    """Declarations, the extending one first."""
    return tuple(
        Declared(name=f"a{n}", source=f"a{n}.toml", fields={"name": f"a{n}", **fields})
        for n, fields in enumerate(layers)
    )


@given(st.lists(written, min_size=1, max_size=5))
def test_each_field_is_the_nearest_that_says_it(layers: list[Fields]) -> None:
    agent = effective(chain(*layers))
    for key in (
        "system_prompt",
        "model_tier",
        "tools",
        "skill_packs",
        "sub_agents",
        "output_schema",
    ):
        said = [layer[key] for layer in layers if layer.get(key) is not None]
        default = RunnableAgent.model_fields[key].default
        assert getattr(agent, key) == (said[0] if said else default)


@given(st.lists(written, min_size=1, max_size=5))
def test_limits_are_inherited_one_by_one(layers: list[Fields]) -> None:
    agent = effective(chain(*layers))
    tables = [layer["limits"] for layer in layers if layer.get("limits")]
    for key in Limits.model_fields:
        said = [table[key] for table in tables if table.get(key) is not None]
        assert getattr(agent.limits, key) == (said[0] if said else None)


@given(st.lists(written, min_size=2, max_size=5))
def test_name_and_id_are_never_inherited(layers: list[Fields]) -> None:
    agent = effective(chain({k: v for k, v in layers[0].items() if k != "id"}, *layers[1:]))
    assert (agent.name, agent.id, agent.identity) == ("a0", "", "a0")


@given(written)
def test_one_who_says_nothing_is_its_parent_but_for_the_name(parent: Fields) -> None:
    own, above = effective(chain({}, parent)), effective(chain(parent))
    assert own.model_copy(update={"id": above.id}) == above


@given(written, written, written)
def test_it_does_not_matter_from_which_end_a_chain_is_merged(
    a: Fields, b: Fields, c: Fields
) -> None:
    assert strip(overlay(overlay(a, b), c)) == strip(overlay(a, overlay(b, c)))


def strip(fields: Fields) -> Fields:
    """Without what is never inherited, and without empty hands."""
    return {key: value for key, value in fields.items() if key not in OWN and value != {}}


@given(written)
def test_merging_changes_neither_side(fields: Fields) -> None:
    before = repr(fields)
    overlay(fields, {"limits": {"tokens": 3}, "tools": ()})
    overlay({"limits": {"tokens": 3}}, fields)
    assert repr(fields) == before


def test_a_nil_list_inherits_and_an_empty_list_clears() -> None:
    parent = {"tools": ("read", "write")}
    assert effective(chain({}, parent)).tools == ("read", "write")
    assert effective(chain({"tools": None}, parent)).tools == ("read", "write")
    assert effective(chain({"tools": ()}, parent)).tools == ()
    assert effective(chain({}, {"tools": ()}, parent)).tools == ()


def test_a_schema_is_one_value_and_limits_are_a_table() -> None:
    assert "limits" in TABLES
    assert "output_schema" not in TABLES
    parent = {"output_schema": {"type": "object"}, "limits": {"tokens": 5}}
    agent = effective(chain({"output_schema": {"enum": [1]}, "limits": {"tool_errors": 1}}, parent))
    assert agent.output_schema == {"enum": [1]}
    assert agent.limits == Limits(tokens=5, tool_errors=1)


def write(folder: Path, **extends: str | None) -> None:
    for name, parent in extends.items():
        text = f'extends = "{parent}"\n' if parent else 'model_tier = "thinking"\n'
        (folder / f"{name}.toml").write_text(text)


def problem(folder: Path, name: str) -> str:
    entry = load_catalogue([folder]).find(name)
    assert entry is not None
    assert entry.agent is None
    return entry.problem or ""


def test_a_circle_is_refused_with_the_whole_chain(tmp_path: Path) -> None:
    write(tmp_path, a="b", b="c", c="a", outside="a")
    assert "circle: `a` extends `b` extends `c` extends `a`" in problem(tmp_path, "a")
    assert "`outside` extends `a` extends `b`" in problem(tmp_path, "outside")
    with pytest.raises(ConfigError, match="circle"):
        load_agent(tmp_path / "a.toml")


def test_an_unknown_parent_is_refused_with_the_chain_and_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path, a="b", b="nobody", c=None)
    text = problem(tmp_path, "a")
    assert text.startswith(f"{tmp_path / 'a.toml'}: `a` extends `b` extends `nobody`, which is unk")
    assert text.endswith("known agents: c")


def test_a_chain_has_an_end(tmp_path: Path) -> None:
    write(tmp_path, a0=None, **{f"a{n}": f"a{n - 1}" for n in range(1, MAX_DEPTH + 1)})
    catalogue = load_catalogue([tmp_path])
    deepest = catalogue.find(f"a{MAX_DEPTH - 1}")
    assert deepest is not None
    assert deepest.extends == tuple(f"a{n}" for n in reversed(range(MAX_DEPTH - 1)))
    assert deepest.agent is not None
    assert deepest.agent.model_tier == "thinking"
    assert f"more than {MAX_DEPTH} agents in a chain" in problem(tmp_path, f"a{MAX_DEPTH}")


def test_a_parents_mistake_is_told_as_the_parents(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "b"\n')
    (tmp_path / "b.toml").write_text("max_iterations = 0\n")
    (tmp_path / "c.toml").write_text('extends = "d"\n')
    (tmp_path / "d.toml").write_text("max_iterations = \n")
    assert f"a.toml: extends {tmp_path}/b.toml: `max_iterations`" in problem(tmp_path, "a")
    assert f"extends `d`: {tmp_path}/d.toml does not parse" in problem(tmp_path, "c")


def test_a_file_may_extend_an_agent_of_python(tmp_path: Path) -> None:
    code = RunnableAgent(name="base", id="base-1", tools=("read",), limits=Limits(tokens=5))
    (tmp_path / "a.toml").write_text('extends = "base"\nlimits = {tool_errors = 2}\n')
    loaded = load_agent(tmp_path / "a.toml", code=[code])
    wanted = RunnableAgent(name="a", tools=("read",), limits=Limits(tokens=5, tool_errors=2))
    assert loaded == wanted
    assert load_catalogue([tmp_path], [code]).agents == {"base": code, "a": wanted}
