"""What models cost and how much they read: the host's tables first, then genai-prices, offline.

The package's data is read as installed; nothing here, and nothing it calls, opens a connection.
Money is integer micro-USD and rounds up.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from functools import cached_property, lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from executus.plan import Price
from executus.usage import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

DEFAULT_WINDOW = 128_000
"""Context window of a model we know nothing about, in tokens."""
MICRO = 1_000_000
"""Micro-USD in a USD; also tokens in the unit that prices are given for."""
FREE = Price(input=0, output=0, version="scripted")
PROVIDERS: Mapping[str, str] = {
    "openai": "openai",
    "openai-chat": "openai",
    "anthropic": "anthropic",
}
"""Our provider name -> the one of genai-prices. Names not listed here are looked up as they are;
`openai-compatible` is nobody's, so its models have no price unless the host gives one."""
INPUTS = ("input_mtok", "cache_write_mtok", "cache_read_mtok")
OUTPUTS = ("output_mtok",)
FEES, CALLS = ("requests_kcount",), 1_000
"""What a thousand calls cost beside their tokens."""


class Prices:
    """Prices and context windows per spec.

    A host's `Price` is flat: cached tokens cost the same as fresh ones. The host's tables are
    read at each call, so they may be live.
    """

    def __init__(
        self,
        prices: Mapping[str, Price] | None = None,
        windows: Mapping[str, int] | None = None,
    ) -> None:
        self._prices: Mapping[str, Price] = {} if prices is None else prices
        self._windows: Mapping[str, int] = {} if windows is None else windows

    @cached_property
    def version(self) -> str:
        """Where the numbers are from, for the audit."""
        return f"genai-prices {version('genai-prices')}"

    def window(self, spec: str) -> int:
        """Tokens of input and output together; 128,000 when nobody knows."""
        if (given := self._windows.get(spec)) is not None:
            return given
        model = _lookup(spec)
        return (model.context_window if model else None) or DEFAULT_WINDOW

    def price(self, spec: str, at: datetime | None = None) -> Price | None:
        """The most that a million tokens may cost, or None when nobody knows.

        The worst of the model's tiers, and of fresh input and what a cache takes or gives (for
        one model in OpenRouter's list that is dearest): reservations are made with it.
        """
        if (known := self._host(spec)) is not None:
            return known
        price = _price(spec, at)
        worst_in, worst_out = _worst(price, INPUTS), _worst(price, OUTPUTS)
        if worst_in is None or worst_out is None:
            return None
        fee = _worst(price, FEES) or 0
        call = -(-fee // CALLS)
        return Price(input=worst_in, output=worst_out, call=call, version=self.version)

    def cost_micro_usd(self, spec: str, usage: Usage, at: datetime | None = None) -> int | None:
        """What a call cost, by tier and with cached tokens at their own price; None: not known."""
        if (known := self._host(spec)) is not None:
            spent = usage.input_tokens * known.input + usage.output_tokens * known.output
            return -(-spent // MICRO) + known.call
        price = _price(spec, at)
        if price is None or _worst(price, INPUTS) is None or _worst(price, OUTPUTS) is None:
            return None
        return _ceil(_calculate(price, usage) * MICRO)

    def _host(self, spec: str) -> Price | None:
        given = self._prices.get(spec)
        return FREE if given is None and spec.startswith("scripted/") else given


@lru_cache(maxsize=1_024)  # bounded: runs may name models by any text
def _lookup(spec: str) -> "ModelInfo | None":
    provider, _, model = spec.partition("/")
    if provider == "scripted":
        return None
    from genai_prices import data_snapshot  # noqa: PLC0415 - half a second, and only where needed

    name = PROVIDERS.get(provider, provider)
    # By exact id: the package's own search would take openai-compatible for openai.
    known = data_snapshot.get_snapshot().providers
    return next((p.find_model(model, all_providers=known) for p in known if p.id == name), None)


def _price(spec: str, at: datetime | None) -> "ModelPrice | None":
    model = _lookup(spec)
    return None if model is None else model.get_prices(at or datetime.now(UTC))


def _calculate(price: "ModelPrice", usage: Usage) -> Decimal:
    """USD. Portions larger than their whole, which a server may report, count as the whole."""
    from genai_prices import Usage as PricedUsage  # noqa: PLC0415 - as above

    read = min(usage.cache_read_tokens, usage.input_tokens)
    write = min(usage.cache_write_tokens, usage.input_tokens - read)
    priced = PricedUsage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=read,
        cache_write_tokens=write,
        output_tokens=usage.output_tokens,
    )
    return price.calc_price(priced)["total_price"]


def _worst(price: "ModelPrice | None", keys: tuple[str, ...]) -> int | None:
    """Micro-USD per million tokens: the dearest of `keys` and their tiers; None without any."""
    if price is None:
        return None
    from genai_prices.types import TieredPrices  # noqa: PLC0415 - as above

    found: list[Decimal] = []
    for key in keys:
        value = price.__dict__.get(key)
        if isinstance(value, TieredPrices):
            found += [value.base, *(tier.price for tier in value.tiers)]
        elif isinstance(value, Decimal):
            found.append(value)
    return _ceil(max(found) * MICRO) if found else None


def _ceil(amount: Decimal) -> int:
    return int(amount.to_integral_value(rounding=ROUND_CEILING))
