"""`executus budget grant` on a run that waits for it."""

import asyncio

from temporalio.client import Client

from executus import Status
from executus.models.scripted import say

from .command import command
from .kit import kit


async def test_a_paused_run_goes_on_when_it_is_granted_more(env):
    address = env.client.service_client.config.target_host
    client = await Client.connect(address)
    async with kit(env, client=client) as k:
        limits = {"tokens": 300, "max_output_tokens": 290, "at_limit": "ask"}
        handle = await k.start([say("done")], limits=limits, max_runtime=60, prompt="word " * 400)
        while (await k.runs.state(handle.id)).stage != "paused":
            await asyncio.sleep(0.05)
        code, out = await command(address, "budget", "grant", handle.id, "--tokens", "200")
        said = f"run {handle.id}: --tokens is not above the present limit, 300"
        assert (code, said in out) == (2, True), out
        code, out = await command(address, "budget", "grant", handle.id, "--usd", "1e30")
        said = f"run {handle.id} has no limit to raise by --usd"
        assert (code, said in out) == (2, True), out
        code, out = await command(address, "budget", "grant", "nobody", "--tokens", "200")
        said = "no run `nobody` here; `executus audit list` shows them"
        assert (code, said in out) == (2, True), out
        code, out = await command(address, "budget", "grant", handle.id, "--tokens", "50000")
        assert (code, "of 50000 tokens" in out) == (0, True), out
        assert (await k.runs.result(handle.id)).status is Status.OK
