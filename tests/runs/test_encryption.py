"""With a host's codec nothing that anybody said can be read in a history or a description."""

import dataclasses

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import PayloadCodec

from executus import Reason
from executus.critic_view import CriticDecision
from executus.models.scripted import call, calls, fail, say
from executus.tools import tool

from .kit import kit
from .test_approvals import asked, send, yes
from .test_critic import OWN, Own, silent
from .test_delegation import agent
from .test_phases import phases

SAID = "canaryword"


class Codec(PayloadCodec):
    """Hides bytes; what it encrypts with does not matter here."""

    async def encode(self, payloads):
        hidden = [bytes(b ^ 0x5A for b in payload.SerializeToString()) for payload in payloads]
        return [Payload(metadata={"encoding": b"binary/x"}, data=data) for data in hidden]

    async def decode(self, payloads):
        return [Payload.FromString(bytes(b ^ 0x5A for b in payload.data)) for payload in payloads]


@tool(effect="pure")
async def boom(x: str) -> str:
    """Fail."""
    raise ValueError(f"no {SAID} {x}")


@pytest.fixture
async def client(env) -> Client:
    """A client of a host that encrypts; its runs live in real time."""
    plain = await Client.connect(env.client.service_client.config.target_host)
    config = plain.config()
    converter = config["data_converter"]
    config["data_converter"] = dataclasses.replace(converter, payload_codec=Codec())
    return Client(**config)


async def traces(k, run_id: str) -> list[int]:
    """Events in which it can be read; 0 is the run's description."""
    handle = k.client.get_workflow_handle(run_id)
    history, about = await handle.fetch_history(), await handle.describe()
    found = [e.event_id for e in history.events if SAID.encode() in e.SerializeToString()]
    return found + [0] * (SAID.encode() in about.raw_description.SerializeToString())


async def test_nothing_said_is_readable_in_histories_of_runs_that_fail(env, client):
    mid = agent("mid", tools=("boom",), max_runtime=60)
    async with kit(env, tools=[boom, send], agents=[mid], client=client) as k:
        tools = ("boom", "send", "agent__mid")
        turn = calls(
            ("boom", {"x": SAID}), ("send", {"to": SAID}), ("agent__mid", {"prompt": SAID})
        )
        k.scripts["mid"] = [call("boom", x=SAID), fail("request_rejected", SAID)]
        made = phases(
            k,
            (SAID, [turn, say(SAID)], {"tools": tools}),
            ("B", [fail("request_rejected", SAID)], {"system_prompt": f"{{{{{SAID}}}}}"}),
        )
        fields = {"phases": made, "tools": ("boom", "send"), "sub_agents": ("mid",)}
        handle = await k.start(None, prompt=SAID, max_runtime=60, **fields)
        (question,) = await asked(k, handle.id)
        await k.runs.steer(handle.id, SAID, by=SAID)
        await k.runs.approve(handle.id, yes(question, by=SAID, note=SAID))
        out = await k.outcome(handle.id)
        assert (out.result.reason, out.result.output) == (Reason.REQUEST_REJECTED, SAID)
        assert SAID in out.result.error
        (child,) = (s.child_run_id for s in out.result.steps if s.child_run_id)
        assert (await k.runs.result(child)).reason is Reason.REQUEST_REJECTED
        assert (await traces(k, handle.id), await traces(k, child)) == ([], [])


async def test_a_critic_reads_the_failures_that_are_encrypted(env):
    critic = Own(CriticDecision(extend=600))
    config = env.client.config()
    converter = config["data_converter"]
    config["data_converter"] = dataclasses.replace(converter, payload_codec=Codec())
    async with kit(env, client=Client(**config), critic=critic) as k:
        out = await k.run([silent(700, say("9"))], max_runtime=600, critic=OWN)
        assert out.result.output == "9"
        (work,) = critic.views[0].work
        assert "rate_limited" in work.failure
