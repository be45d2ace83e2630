"""Models: the host's tiers, aliases, providers, prices and health, in one object per worker."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime

from executus.errors import ConfigError, UnknownModel
from executus.models.adapter import Adapter
from executus.models.anthropic_messages import AnthropicMessages
from executus.models.health import Health
from executus.models.openai_chat import OpenAIChat
from executus.models.openai_responses import OpenAIResponses
from executus.models.prices import Prices
from executus.models.provider import Provider, TakesSchema
from executus.models.scripted import Scripted
from executus.models.spec import elements, expand
from executus.output_schema import Schema, fills_object
from executus.plan import ModelTarget, Price
from executus.usage import Usage

TIER_VARIABLE = "EXECUTUS_TIER_"
QUEUE_VARIABLE = "EXECUTUS_QUEUE_"
"""Prefix of the variables that name tiers: `EXECUTUS_TIER_FAST=anthropic/...,openai/...`."""
ANTHROPIC_TIERS = {"fast": "anthropic/claude-haiku-5-5", "thinking": "anthropic/claude-opus-5-5"}
OPENAI_TIERS = {"fast": "openai/gpt-6-luna", "thinking": "openai/gpt-6.1-sol"}
WAY_OUT = (
    "set ANTHROPIC_API_KEY or OPENAI_API_KEY, set EXECUTUS_TIER_<NAME>=provider/model, "
    "or pass tiers and providers to Models"
)


class Models:
    """Everything executus knows about models; shared by the activities of a worker.

    `tiers`, `aliases`, `prices` and `windows` are read at each use: pass a live mapping and a
    tier changes without a restart. A run keeps the chain it was planned with. `task_queues` names,
    by provider, where the workers are that call it: with a rate limit of their own, say. The
    provider named `scripted` is always there; one of that name in `providers` takes its place.
    """

    def __init__(
        self,
        tiers: Mapping[str, str],
        *,
        aliases: Mapping[str, str] | None = None,
        providers: Iterable[Provider] = (),
        prices: Mapping[str, Price] | None = None,
        windows: Mapping[str, int] | None = None,
        task_queues: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tiers = tiers
        self._aliases: Mapping[str, str] = {} if aliases is None else aliases
        self._task_queues: Mapping[str, str] = {} if task_queues is None else task_queues
        self._prices = Prices(prices, windows)
        self._providers = _by_name(providers)
        self.health = Health(clock)
        """Which targets are benched, in this process."""

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        aliases: Mapping[str, str] | None = None,
        providers: Iterable[Provider] = (),
        prices: Mapping[str, Price] | None = None,
        windows: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> "Models":
        """Providers and tiers from environment variables; `providers` come on top.

        ANTHROPIC_API_KEY (with ANTHROPIC_BASE_URL): provider `anthropic`. OPENAI_API_KEY:
        provider `openai` (Responses). OPENAI_BASE_URL: `openai` talks to that server, and so
        does `openai-compatible` (Chat Completions); the key may then be missing.
        EXECUTUS_QUEUE_<PROVIDER> names the task queue of the workers that call this provider.
        EXECUTUS_TIER_<NAME> sets the tier <name> in lower case; `fast` and `thinking` default to
        a current model of each provider whose key is set, Anthropic's first.
        """
        environ = os.environ if environ is None else environ
        found = [*_from_environment(environ), *providers]
        return cls(
            _environment_tiers(environ),
            aliases=aliases,
            providers=found,
            prices=prices,
            windows=windows,
            task_queues=_environment_queues(environ),
            clock=clock,
        )

    def has_tier(self, name: str) -> bool:
        """Whether the host has this tier."""
        return name in self._tiers

    @property
    def tiers(self) -> dict[str, str]:
        """Tier -> spec, as they are now."""
        return dict(self._tiers)

    def resolve(self, tier_or_spec: str) -> tuple[ModelTarget, ...]:
        """The chain of a tier or of a spec, with prices and context windows.

        Inside a spec a bare name is an alias; a tier's spec that names another tier is refused.

        Raises:
            UnknownModel: what does not resolve, what there is, and the way out.
        """
        name = tier_or_spec.strip()
        tier = name if name in self._tiers else None
        spec = tier_or_spec if tier is None else self._tiers.get(tier)
        if not spec:  # a host's live mapping may say nothing
            raise UnknownModel(f"the tier {name!r} resolved to no model; {WAY_OUT}")
        chain = expand(spec, self._aliases, lambda bare: self._unknown(bare, tier))
        for element in chain:
            self.provider(element.partition("/")[0])
        return tuple(
            ModelTarget(
                spec=element,
                context_window=self._prices.window(element),
                price=self._prices.price(element),
                task_queue=self._task_queues.get(element.partition("/")[0]),
            )
            for element in chain
        )

    def provider(self, name: str) -> Provider:
        """The provider of this name.

        Raises:
            UnknownModel: when there is none.
        """
        provider = self._providers.get(name)
        if provider is None:
            known = ", ".join(sorted(self._providers))
            raise UnknownModel(f"no model provider {name!r} (there are: {known}); {WAY_OUT}")
        return provider

    def takes_schema(self, target: ModelTarget, schema: Schema) -> bool:
        """Whether a model can be held to a schema by its provider's own means.

        Only to one of an object: providers take nothing else at the root.
        """
        provider = self._providers.get(target.provider)
        if not isinstance(provider, TakesSchema) or not fills_object(schema):
            return False
        try:
            return provider.takes_schema(target.model, schema)
        except Exception:  # noqa: BLE001 - the host's code; by `submit` it goes anyway
            return False

    def cost(self, spec: str, usage: Usage, at: datetime | None = None) -> int | None:
        """Micro-USD that a call cost, rounded up; None when the price is not known."""
        return self._prices.cost_micro_usd(spec, usage, at)

    def load(self) -> None:
        """Import what calls and prices need, for a worker before it takes work.

        Up to a second of CPU. Later it would stop the worker's event loop, and hold up workflow
        tasks until Temporal took them for deadlocked. What fails here is told by the first call.
        """
        for provider in self._providers.values():
            if isinstance(provider, Adapter):
                with suppress(Exception):
                    provider.load()
        for tier in self.tiers:
            with suppress(UnknownModel):
                self.resolve(tier)

    async def close(self) -> None:
        """Close every provider."""
        for provider in self._providers.values():
            await provider.close()

    def _unknown(self, bare: str, tier: str | None) -> UnknownModel:
        if tier is not None and bare in self._tiers:
            return UnknownModel(
                f"the tier {tier!r} names the tier {bare!r}; a tier lists models: use an alias"
            )
        tiers = ", ".join(sorted(self._tiers)) or "none"
        aliases = ", ".join(sorted(self._aliases)) or "none"
        return UnknownModel(
            f"no model tier or alias {bare!r} (tiers: {tiers}; aliases: {aliases}); {WAY_OUT}"
        )


def _by_name(providers: Iterable[Provider]) -> dict[str, Provider]:
    found: dict[str, Provider] = {}
    for provider in providers:
        if not provider.name or "/" in provider.name or elements(provider.name) != (provider.name,):
            raise ConfigError(f"{provider.name!r} cannot be a provider's name")
        if provider.name in found:
            raise ConfigError(f"two model providers are named {provider.name!r}")
        found[provider.name] = provider
    found.setdefault("scripted", Scripted())
    return found


def _from_environment(environ: Mapping[str, str]) -> list[Provider]:
    found: list[Provider] = []
    if key := environ.get("ANTHROPIC_API_KEY"):
        url = environ.get("ANTHROPIC_BASE_URL") or None
        found.append(AnthropicMessages(api_key=key, base_url=url))
    key, url = environ.get("OPENAI_API_KEY", ""), environ.get("OPENAI_BASE_URL") or None
    if key or url:
        # The key belongs to the server at that URL: it must not go to another one.
        found.append(OpenAIResponses(api_key=key or "none", base_url=url))
    if url:
        found.append(OpenAIChat(name="openai-compatible", api_key=key or "none", base_url=url))
    return found


def _environment_queues(environ: Mapping[str, str]) -> dict[str, str]:
    """Provider -> task queue; `openai-compatible` is written OPENAI_COMPATIBLE."""
    return {
        variable.removeprefix(QUEUE_VARIABLE).lower().replace("_", "-"): queue.strip()
        for variable, queue in environ.items()
        if variable.startswith(QUEUE_VARIABLE) and queue.strip()
    }


def _environment_tiers(environ: Mapping[str, str]) -> dict[str, str]:
    sources: list[dict[str, str]] = []
    if environ.get("ANTHROPIC_API_KEY"):
        sources.append(ANTHROPIC_TIERS)
    # Another server than OpenAI's has models of other names.
    if environ.get("OPENAI_API_KEY") and not environ.get("OPENAI_BASE_URL"):
        sources.append(OPENAI_TIERS)
    tiers = {
        name: ",".join(source[name] for source in sources)
        for name in ("fast", "thinking")
        if sources
    }
    for variable, spec in environ.items():
        if variable.startswith(TIER_VARIABLE) and spec.strip():
            tiers[variable.removeprefix(TIER_VARIABLE).lower()] = spec
    return tiers
