import pytest
from hypothesis import given
from hypothesis import strategies as st

from executus.errors import UnknownModel
from executus.models.spec import elements, expand


def unknown(name: str) -> UnknownModel:
    return UnknownModel(f"unknown {name}")


def chain(spec: str, **aliases: str) -> list[str]:
    return list(expand(spec, aliases, unknown))


def test_one_element_is_a_chain_of_one() -> None:
    assert chain("openai/gpt") == ["openai/gpt"]


def test_the_model_is_everything_after_the_first_slash() -> None:
    assert chain("or/meta/llama:70b, ollama/x:cloud") == ["or/meta/llama:70b", "ollama/x:cloud"]


def test_aliases_expand_in_place_and_recursively() -> None:
    aliases = {"cheap": "a/1,mid", "mid": "b/2,c/3"}
    assert chain("z/0,cheap,y/9", **aliases) == ["z/0", "a/1", "b/2", "c/3", "y/9"]


def test_of_duplicates_the_first_wins() -> None:
    assert chain("b/2,cheap,a/1,b/2", cheap="a/1,b/2") == ["b/2", "a/1"]


def test_a_cycle_is_named() -> None:
    with pytest.raises(UnknownModel, match="b -> c -> b"):
        chain("a", a="x/1,b", b="c", c="b")


def test_an_alias_used_twice_is_no_cycle() -> None:
    assert chain("a,b", a="c", b="c", c="x/1") == ["x/1"]


def test_an_unknown_bare_name_is_the_callers_to_explain() -> None:
    with pytest.raises(UnknownModel, match="unknown nope"):
        chain("a/1,nope")


@pytest.mark.parametrize(
    "spec", ["", " ", "a/1,", ",a/1", "a/1,,b/2", "/m", "a/", "a/b c", "a b/m"]
)
def test_malformed_elements_are_refused(spec: str) -> None:
    with pytest.raises(UnknownModel):
        elements(spec)


def test_aliases_that_double_at_each_level_expand_in_no_time() -> None:
    aliases = {f"a{n}": f"a{n + 1},a{n + 1}" for n in range(60)} | {"a60": "x/1"}
    assert chain("a0", **aliases) == ["x/1"]


NAMES = st.sampled_from(["a", "b", "c", "d"])
SPECS = st.lists(NAMES | st.sampled_from(["p/1", "p/2", "q/1"]), min_size=1, max_size=4).map(
    ",".join
)


@given(SPECS, st.dictionaries(NAMES, SPECS))
def test_a_chain_is_flat_and_without_duplicates_or_the_error_is_typed(
    spec: str, aliases: dict[str, str]
) -> None:
    try:
        found = chain(spec, **aliases)
    except UnknownModel:
        return
    assert found
    assert len(set(found)) == len(found)
    assert all("/" in element for element in found)
