from typing import Any

import pytest

from executus.errors import ConfigError
from executus.tools import Caller, Registry, Tool, UnknownTool, tool

ALICE = Caller("alice", "acme", "helper")
BOB = Caller("bob")


def make(name: str, **options: Any) -> Tool:
    return tool(name=name, **options)(lambda: None)


def grant(
    registry: Registry, *names: str, caller: Caller = ALICE, visibility: Any = "private"
) -> Any:
    return registry.grant(names, caller=caller, visibility=visibility, default_result_bytes=4_096)


def refusal(registry: Registry, *names: str, **options: Any) -> str:
    with pytest.raises(UnknownTool) as caught:
        grant(registry, *names, **options)
    return str(caught.value)


def test_a_grant_keeps_the_order_and_drops_repeats() -> None:
    registry = Registry([make("a"), make("b"), make("c")])
    assert [d.name for d in grant(registry, "c", "a", "c", "a")] == ["c", "a"]
    assert grant(registry) == ()


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two tools are called 'a'"):
        Registry([make("a"), make("a")])


def test_a_bare_function_is_not_a_tool() -> None:
    with pytest.raises(ConfigError, match="decorate it with @tool"):
        Registry([len])  # type: ignore[list-item]


def test_an_unknown_tool_is_named_with_the_known_ones_and_the_way_out() -> None:
    registry = Registry([make("b"), make("a")])
    message = refusal(registry, "x", "a", "y")
    assert message.startswith("unknown tools 'x', 'y'; tools this agent may have: a, b;")
    assert "register the tool" in message
    assert issubclass(UnknownTool, ConfigError)


@pytest.mark.parametrize(
    "callers",
    [["bob"], {"bob"}, (), lambda caller: caller.tenant_id == "other", lambda caller: 1 / 0],
    ids=["list", "set", "nobody", "predicate", "broken predicate"],
)
def test_a_hidden_tool_answers_like_an_unknown_one_byte_for_byte(callers: Any) -> None:
    others = [make("open"), make("other")]
    hidden = Registry([*others, make("vault", callers=callers)])
    without = Registry(others)
    assert refusal(hidden, "vault") == refusal(without, "vault")
    assert refusal(hidden, "nothing") == refusal(without, "nothing")
    assert refusal(hidden, "open", "vault", "x") == refusal(without, "open", "vault", "x")


def test_a_tool_too_narrow_for_the_agent_answers_like_an_unknown_one() -> None:
    others = [make("open", visibility="public")]
    hidden = Registry([*others, make("vault")])
    for name in ("vault", "nothing"):
        assert refusal(hidden, name, visibility="shared") == refusal(
            Registry(others), name, visibility="shared"
        )


@pytest.mark.parametrize(
    ("agent", "allowed"),
    [
        ("private", ["private", "shared", "public"]),
        ("shared", ["shared", "public"]),
        ("public", ["public"]),
    ],
)
def test_an_agent_gets_no_tool_narrower_than_itself(agent: str, allowed: list[str]) -> None:
    registry = Registry([make(v, visibility=v) for v in ("private", "shared", "public")])
    assert [d.name for d in grant(registry, *allowed, visibility=agent)] == allowed
    for name in {"private", "shared", "public"} - set(allowed):
        refusal(registry, name, visibility=agent)


@pytest.mark.parametrize(
    "callers", [["alice"], lambda caller: caller == ALICE], ids=["ids", "predicate"]
)
def test_a_tool_for_some_callers_is_granted_to_them_alone(callers: Any) -> None:
    registry = Registry([make("vault", callers=callers)])
    assert len(grant(registry, "vault", caller=ALICE)) == 1
    refusal(registry, "vault", caller=BOB)


@pytest.mark.parametrize("answer", [1, "yes", object()], ids=["one", "yes", "object"])
def test_only_true_is_a_yes(answer: object) -> None:
    registry = Registry([make("vault", callers=lambda caller: answer)])
    refusal(registry, "vault")


def test_a_hostile_name_is_cut_to_one_short_line() -> None:
    message = refusal(Registry([make("a")]), "x\n\x1b[31m" + "y" * 10_000)
    assert "\n" not in message
    assert "\x1b" not in message
    assert len(message) < 500


def test_a_long_list_of_tools_is_cut() -> None:
    registry = Registry([make(f"tool_{i:03}") for i in range(200)])
    message = refusal(registry, *(f"x{i}" for i in range(200)))
    assert "tool_049 and 150 more" in message


def test_get_finds_a_tool_whoever_asks() -> None:
    vault = make("vault", callers=[])
    registry = Registry([vault])
    assert registry.get("vault") is vault
    assert registry.get("nothing") is None
    assert list(registry) == [vault]
    assert len(registry) == 1
