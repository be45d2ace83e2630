"""Prices come from genai-prices offline; the host's tables win; the unknown stays unknown."""

import socket
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices import data_snapshot
from hypothesis import given
from hypothesis import strategies as st

from executus.models.prices import DEFAULT_WINDOW, Prices
from executus.plan import Price
from executus.usage import Usage

AT = datetime(2026, 11, 1, tzinfo=UTC)
TIERED = "anthropic/claude-sonnet-4-5"
FLAT = "openai/gpt-5-mini"


def test_the_hosts_price_and_window_win() -> None:
    prices = Prices({TIERED: Price(input=7, output=9)}, {TIERED: 5})
    assert prices.price(TIERED) == Price(input=7, output=9)
    assert prices.window(TIERED) == 5
    assert prices.cost_micro_usd(TIERED, Usage(input_tokens=1_000_000)) == 7


def test_a_hosts_price_rounds_up() -> None:
    prices = Prices({"x/y": Price(input=1, output=0)})
    assert prices.cost_micro_usd("x/y", Usage(input_tokens=1)) == 1
    assert prices.cost_micro_usd("x/y", Usage()) == 0


def test_the_plan_gets_the_worst_tier_with_cache_writes_in_it() -> None:
    price = Prices().price(TIERED, AT)
    assert price is not None
    # Base 3 / 15 USD; above 200k tokens 6 / 22.5; writing to the cache costs a quarter more.
    assert (price.input, price.output) == (7_500_000, 22_500_000)
    assert price.version.startswith("genai-prices ")


def test_cached_tokens_have_their_own_price() -> None:
    prices = Prices()
    fresh = prices.cost_micro_usd(FLAT, Usage(input_tokens=100_000), AT)
    cached = prices.cost_micro_usd(FLAT, Usage(input_tokens=100_000, cache_read_tokens=100_000), AT)
    assert (fresh, cached) == (25_000, 2_500)


def test_a_call_over_the_threshold_pays_the_higher_tier() -> None:
    prices = Prices()
    below = prices.cost_micro_usd(TIERED, Usage(input_tokens=199_000), AT)
    above = prices.cost_micro_usd(TIERED, Usage(input_tokens=201_000), AT)
    assert (below, above) == (597_000, 1_206_000)


def test_the_unknown_has_no_price_and_the_default_window() -> None:
    prices = Prices()
    for spec in ("openai/no-such-model", "nobody/x", "openai-compatible/gpt-5-mini"):
        assert prices.price(spec) is None
        assert prices.cost_micro_usd(spec, Usage(input_tokens=5)) is None
        assert prices.window(spec) == DEFAULT_WINDOW


def test_scripted_models_cost_nothing() -> None:
    prices = Prices()
    assert prices.cost_micro_usd("scripted/any", Usage(input_tokens=10**9)) == 0
    assert prices.window("scripted/any") == 128_000
    price = prices.price("scripted/any")
    assert price is not None
    assert (price.input, price.output) == (0, 0)


def test_looking_up_a_price_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert Prices().price(FLAT) is not None


COUNT = st.integers(0, 3_000_000)
FEE = "perplexity/sonar"
"""A model with a fee for each call."""


@given(COUNT, COUNT, COUNT, COUNT, st.sampled_from([TIERED, FLAT, "openai/gpt-6-luna", FEE]))
def test_no_call_costs_more_than_the_plans_worst_price(
    total: int, read: int, write: int, output: int, spec: str
) -> None:
    usage = Usage(
        input_tokens=total, cache_read_tokens=read, cache_write_tokens=write, output_tokens=output
    )
    prices = Prices()
    cost, worst = prices.cost_micro_usd(spec, usage, AT), prices.price(spec, AT)
    assert cost is not None
    assert worst is not None
    tokens = (total * worst.input + output * worst.output) / 1_000_000
    assert 0 <= cost <= tokens + worst.call + 1


def test_no_model_of_the_list_costs_more_than_its_worst_price() -> None:
    prices, found = Prices(), 0
    used = [
        Usage(input_tokens=1_000, output_tokens=1_000, model_calls=1),
        Usage(input_tokens=500_000, output_tokens=1_000),
        Usage(input_tokens=100_000, output_tokens=1_000, cache_read_tokens=100_000),
        Usage(input_tokens=100_000, output_tokens=1_000, cache_write_tokens=100_000),
    ]
    for provider in data_snapshot.get_snapshot().providers:
        for model in provider.models:
            spec = f"{provider.id}/{model.id}"
            worst = prices.price(spec, AT)
            if worst is None:
                continue
            found += 1
            for usage in used:
                cost = prices.cost_micro_usd(spec, usage, AT)
                assert cost is not None, spec
                tokens = usage.input_tokens * worst.input + usage.output_tokens * worst.output
                assert cost <= -(-tokens // 1_000_000) + worst.call, (spec, usage)
    assert found > 500


def test_a_host_may_say_what_each_call_costs() -> None:
    prices = Prices({"x/y": Price(input=1_000_000, output=0, call=500)})
    assert prices.cost_micro_usd("x/y", Usage(input_tokens=7)) == 507


@given(COUNT, COUNT)
def test_the_cost_is_the_packages_own_rounded_up(total: int, output: int) -> None:
    theirs = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=total, output_tokens=output),
        "gpt-5-mini",
        provider_id="openai",
        genai_request_timestamp=AT,
    ).total_price
    ours = Prices().cost_micro_usd(FLAT, Usage(input_tokens=total, output_tokens=output), AT)
    assert ours == int((theirs * Decimal(1_000_000)).to_integral_value(ROUND_CEILING))
