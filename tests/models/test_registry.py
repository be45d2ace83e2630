import subprocess
import sys
from typing import Any, cast

import pytest

from executus.errors import ConfigError, ModelError, UnknownModel
from executus.models.openai_responses import OpenAIResponses
from executus.models.registry import ANTHROPIC_TIERS, OPENAI_TIERS, Models
from executus.models.scripted import Scripted
from executus.plan import Price
from executus.plugin import ExecutusPlugin
from executus.usage import Usage
from tests.models.support import KEY, quiet, request
from tests.provider_server import ProviderServer, say


def specs(models: Models, name: str) -> list[str]:
    return [target.spec for target in models.resolve(name)]


def test_a_tier_resolves_to_its_chain_with_prices_and_windows() -> None:
    models = Models(
        {"fast": "main,scripted/b"},
        aliases={"main": "scripted/a"},
        prices={"scripted/b": Price(input=2, output=3)},
        windows={"scripted/b": 9},
    )
    first, second = models.resolve("fast")
    assert (first.spec, first.context_window) == ("scripted/a", 128_000)
    assert (second.spec, second.context_window) == ("scripted/b", 9)
    assert second.price == Price(input=2, output=3)
    assert models.cost("scripted/b", Usage(output_tokens=1_000_000)) == 3


def test_a_spec_resolves_without_a_tier() -> None:
    assert specs(Models({}, aliases={"x": "scripted/a"}), "x,scripted/b") == [
        "scripted/a",
        "scripted/b",
    ]


def test_a_tier_is_read_live() -> None:
    tiers = {"fast": "scripted/a"}
    models = Models(tiers)
    assert specs(models, "fast") == ["scripted/a"]
    tiers["fast"] = "scripted/b"
    assert specs(models, "fast") == ["scripted/b"]
    assert models.has_tier("fast")
    assert not models.has_tier("slow")


def test_a_tier_that_names_a_tier_is_refused() -> None:
    models = Models({"fast": "scripted/a,thinking", "thinking": "scripted/b", "self": "self"})
    with pytest.raises(UnknownModel, match=r"tier 'fast' names the tier 'thinking'.*alias"):
        models.resolve("fast")
    with pytest.raises(UnknownModel, match="tier 'self' names the tier 'self'"):
        models.resolve("self")


def test_the_unknown_is_refused_with_what_there_is_and_the_way_out() -> None:
    models = Models({"fast": "scripted/a"}, aliases={"cheap": "scripted/a"})
    with pytest.raises(UnknownModel, match=r"'nope' \(tiers: fast; aliases: cheap\).*API_KEY"):
        models.resolve("nope")
    with pytest.raises(UnknownModel, match=r"'openai' \(there are: scripted\).*OPENAI_API_KEY"):
        models.resolve("openai/gpt")
    with pytest.raises(UnknownModel):
        models.resolve("fast,scripted/b")


async def test_a_host_registers_any_object_of_the_protocol() -> None:
    class Own(Scripted):
        closed = False

        async def close(self) -> None:
            self.closed = True

    own = Own(name="own")
    models = Models({}, providers=[own])
    assert models.provider("own") is own
    assert specs(models, "own/echo") == ["own/echo"]
    await models.close()
    assert own.closed


def test_two_providers_of_one_name_and_odd_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="two model providers"):
        Models({}, providers=[Scripted(), Scripted()])
    for name in ("", "a/b", "a b", "a,b"):
        with pytest.raises(ConfigError):
            Models({}, providers=[Scripted(name=name)])


def test_without_a_key_there_is_only_scripted() -> None:
    models = Models.from_environment({})
    assert models.tiers == {}
    assert specs(models, "scripted/echo") == ["scripted/echo"]
    with pytest.raises(UnknownModel, match="ANTHROPIC_API_KEY"):
        models.resolve("fast")


@pytest.mark.parametrize(
    ("environ", "fast"),
    [
        ({"ANTHROPIC_API_KEY": "k"}, [ANTHROPIC_TIERS["fast"]]),
        ({"OPENAI_API_KEY": "k"}, [OPENAI_TIERS["fast"]]),
        (
            {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"},
            [ANTHROPIC_TIERS["fast"], OPENAI_TIERS["fast"]],
        ),
        (
            {"OPENAI_API_KEY": "k", "EXECUTUS_TIER_FAST": "openai/x", "EXECUTUS_TIER_DEEP": "a/b"},
            ["openai/x"],
        ),
        (
            {"OPENAI_BASE_URL": "http://h/v1", "EXECUTUS_TIER_FAST": "openai-compatible/x"},
            ["openai-compatible/x"],
        ),
    ],
)
def test_the_environment_brings_providers_and_tiers(
    environ: dict[str, str], fast: list[str]
) -> None:
    models = Models.from_environment(environ)
    assert specs(models, "fast") == fast
    assert models.has_tier("deep") == ("EXECUTUS_TIER_DEEP" in environ)


@pytest.mark.parametrize("tiers", [ANTHROPIC_TIERS, OPENAI_TIERS])
def test_the_default_models_have_a_price_and_a_window(tiers: dict[str, str]) -> None:
    models = Models.from_environment({"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k"})
    for spec in tiers.values():
        (target,) = models.resolve(spec)
        assert target.price is not None
        assert target.context_window > 128_000


async def test_a_key_for_another_server_never_goes_to_openai() -> None:
    async with ProviderServer() as server:
        server.script("m", [say("ok")])
        environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.openai_url}
        models = Models.from_environment(environ)
        for name in ("openai", "openai-compatible"):
            reply = await models.provider(name).complete(request(), quiet)
            assert reply.message.text == "ok"
        await models.close()
        assert [exchange.api for exchange in server.journal] == ["openai-responses", "openai-chat"]


def test_nothing_but_the_registry_is_loaded_without_a_key() -> None:
    program = (
        "import sys; from executus.models.registry import Models; Models.from_environment({});"
        "print(sorted({'openai', 'anthropic', 'genai_prices'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_what_takes_long_to_import_is_loaded_for_a_worker_and_for_nobody_else() -> None:
    program = """
import sys
from executus.plugin import ExecutusPlugin
slow = ("anthropic", "openai", "genai_prices", "jsonschema")
models = ExecutusPlugin().host.models
print([name for name in slow if name in sys.modules])
models.load()
print([name for name in slow if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "b"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["[]", "['anthropic', 'openai', 'genai_prices']"]


async def test_a_provider_that_cannot_be_loaded_fails_its_calls_and_not_the_worker() -> None:
    broken = OpenAIResponses(api_key="k", base_url="http://[broken")
    models = Models({"fast": "openai/m", "odd": "no such thing"}, providers=[broken])
    models.load()
    with pytest.raises(ModelError):
        await broken.complete(request(), quiet)


async def test_a_worker_takes_no_task_before_all_is_loaded() -> None:
    order: list[str] = []

    class Watched(Models):
        def load(self) -> None:
            order.append("loaded")

    async def work(_: Any) -> None:
        order.append("working")

    await ExecutusPlugin(models=Watched({})).run_worker(cast("Any", None), work)
    assert order == ["loaded", "working"]


def test_no_workflow_task_has_to_import_what_checks_arguments() -> None:
    """A busy machine takes longer over it than the two seconds of Temporal's deadlock detection."""
    program = """
import asyncio, sys
from temporalio.worker import Replayer
from executus.plugin import ExecutusPlugin
there = []

async def work(worker):
    there.append("jsonschema" in sys.modules)

asyncio.run(ExecutusPlugin().run_worker(None, work))
del sys.modules["jsonschema"]
Replayer(workflows=[], plugins=[ExecutusPlugin()])
there.append("jsonschema" in sys.modules)
print(there)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env={}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[True, True]"
